/* What the emulator finds wrong: each place once, on stderr and in the file EAB_PTX_FINDINGS. A process with findings
 * ends with exit code 99. */
#ifndef EAB_TESTS_PTX_FINDINGS_H
#define EAB_TESTS_PTX_FINDINGS_H

#include "instruction.h"

namespace ptx {

/* `function` may be null: a call of the host. */
void finding(const char *kind, const Function *function, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* At the end of the process: the number of findings and of instructions, and the exit code. */
void report_at_exit(const uint64_t *instructions);

} // namespace ptx

#endif
