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

/* Reads the TIME of --OPTION into *seconds; text NULL: not given, which changes nothing. zero: what 0 means, such as
 * "never"; NULL: 0 is not allowed. EAB_BAD_INPUT for any other text. */
int eab_command_read_time(const char *option, const char *text, const char *zero, double *seconds);

#endif
