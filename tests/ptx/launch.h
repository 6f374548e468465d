/* A kernel's launch, as the runtime hands it to the interpreter. */
#ifndef EAB_TESTS_PTX_LAUNCH_H
#define EAB_TESTS_PTX_LAUNCH_H

#include <cstddef>
#include <vector>

#include "instruction.h"

namespace ptx {

struct Launch {
    const Function *function;
    uint32_t grid[3], block[3];
    size_t dynamic_shared;
    std::vector<uint8_t> parameters;
};

/* false: an access that a GPU would refuse, a trap, or lanes that wait for ever; a finding says which. */
bool run(const Launch &launch);
extern uint64_t instructions_run; /* by warps, in this process */

} // namespace ptx

#endif
