/* What the command lines of all commands share. */
#ifndef EAB_COMMANDS_ARGUMENTS_H
#define EAB_COMMANDS_ARGUMENTS_H

#include <glib.h>
#include <stdbool.h>

#include "commands.h"

/* Parses argv (argv[0] is the command) by `entries`, which end with {0} and have G_OPTION_REMAINING; --help is added.
 * Returns -1, or an exit code: EAB_EXIT_DONE after printing the help that was asked for (summary: behind the usage;
 * description: below the options, or NULL), EAB_EXIT_BAD_INPUT after an error message about an option. */
int eab_command_parse(const char *command, const char *summary, const char *description, const GOptionEntry *entries,
                      int argc, char **argv);

/* Whether --backend can be `name` (NULL and "auto" can); prints an error message if not. */
bool eab_command_backend_is_known(const char *command, const char *name);

/* The backend called `name`; NULL and "auto" stand for the GPU if there is one, else the cpu. Prints a line if this
 * build supports a GPU and there is none. */
const char *eab_command_resolve_backend(const char *command, const char *name);

/* The command line, quoted for a shell; g_free. */
char *eab_command_quote(const char *program, int argc, char **argv);

/* Reads a duration: a number of seconds, or a number followed by s, m, h or d; at most 1e9 s. False after an error. */
bool eab_command_read_duration(const char *text, double *seconds);

#endif
