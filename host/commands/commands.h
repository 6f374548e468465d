/* The commands of the command line. Each takes its own arguments (argv[0] is the command's name) and returns the
 * program's exit code; it prints its own errors to stderr as "eabench COMMAND: ...". */
#ifndef EAB_COMMANDS_COMMANDS_H
#define EAB_COMMANDS_COMMANDS_H

#include "base/exit.h"

int eab_command_sweep(int argc, char **argv);
int eab_command_status(int argc, char **argv);
int eab_command_merge(int argc, char **argv);
int eab_command_bench(int argc, char **argv);
int eab_command_check(int argc, char **argv);
int eab_command_devices(int argc, char **argv);
int eab_command_tasks(int argc, char **argv);
int eab_command_trace(int argc, char **argv);
int eab_command_sample(int argc, char **argv);

/* Prints "eabench COMMAND: eab_last_error()" and returns the exit code for `status` (an eab_status). */
int eab_command_error(const char *command, int status);

#endif
