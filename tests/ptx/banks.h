/* EAB_PTX_BANKS=1: how the accesses of each instruction spread over shared memory's banks and global memory's sectors,
 * printed at the end of the process. */
#ifndef EAB_TESTS_PTX_BANKS_H
#define EAB_TESTS_PTX_BANKS_H

#include "instruction.h"

namespace ptx {

/* Shared memory serves so many lanes a request; each takes as many wavefronts as the fullest bank has words. */
void count_shared(const Function &f, const Instruction &i, const uint64_t *addresses, uint32_t lanes, int bytes,
                  int lanes_per_request);
/* Global memory is read in sectors of 32 bytes. */
void count_global(const Function &f, const Instruction &i, const uint64_t *addresses, uint32_t lanes, int bytes);

} // namespace ptx

#endif
