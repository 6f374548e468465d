/* The environment variables EAB_PTX_... (docs/emulator.md), read once. */
#ifndef EAB_TESTS_PTX_SETTINGS_H
#define EAB_TESTS_PTX_SETTINGS_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace ptx {

struct Settings {
    std::string folders;  /* of the .ptx files, separated by : */
    std::string findings; /* the file that each finding is appended to; empty: none */
    int device;           /* 80, 86, 89, 90, 100, 120 */
    size_t memory_bytes;  /* of the device */
    int largest_grid[2];  /* that the device reports, x and y; launches may exceed it */
    unsigned seed;        /* of the order of blocks and warps; 0: ascending */
    bool approximate;     /* ex2, rcp, ... .approx are off by up to their documented error */
    bool truncate_sums;   /* of mma.sync */
    bool early_copies;    /* cp.async writes when it is issued, not when it is waited for */
    bool watch_races;
    bool count_banks;
    bool trace;           /* each launch on stderr */
    int64_t fault_launch; /* the number of the launch that fails as if the device had a fault; 0: none */
    bool fault_for_good;  /* a reset does not help */
};
const Settings &settings();

} // namespace ptx

#endif
