/* Races: two accesses of the same bytes, at least one a write, that nothing orders. bar.sync orders a block,
 * bar.warp.sync the lanes of its mask; nothing orders two blocks of a launch. Atomics do not race with each other. */
#ifndef EAB_TESTS_PTX_RACES_H
#define EAB_TESTS_PTX_RACES_H

#include <cstdint>
#include <vector>

namespace ptx {

/* When a lane does something, in the order that barriers make. */
struct Moment {
    uint32_t launch, block;
    uint16_t barrier;      /* bar.sync so far */
    uint16_t warp_barrier; /* since then: bar.warp.sync of all lanes that are left */
    uint16_t part_barrier; /* since then: bar.warp.sync of a part that contains the lane */
};

/* The last access of one kind. */
struct Access {
    uint32_t launch, block;
    uint16_t barrier, warp_barrier;
    uint16_t thread; /* or one of these */
    uint8_t part_barrier;
    uint8_t atomic : 1, pending : 1; /* pending: a cp.async that was not waited for */
};
enum : uint16_t { SEVERAL_WARPS = 0xFFFF, SEVERAL_LANES = 0x8000 /* + the warp's number */ };
const uint32_t SEVERAL_BLOCKS = ~0u;

struct Accesses {
    Access written, read;
};

/* The order within a warp that bar.warp.sync of parts makes: met[a][b] is the number of part barriers of lane b that
 * precede what lane a does now. Zero again at each barrier of all lanes. */
struct PartOrder {
    uint16_t met[32][32];
};

/* Of a byte of global memory; made when it is first touched. */
Accesses *global_accesses(uint64_t address);
void forget_global_accesses(uint64_t from, uint64_t to); /* whole pages of 4096 bytes */

} // namespace ptx

#endif
