/* What the commands share of their command lines. */
#ifndef EAB_COMMANDS_ARGUMENTS_H
#define EAB_COMMANDS_ARGUMENTS_H

#include <glib.h>
#include <stdbool.h>

#include "commands.h"

/* Prints GLib's line on an option, with the nearest of `names` (NULL-terminated) where there is none of that name;
 * returns EAB_EXIT_BAD_INPUT. */
int eab_command_refuse_option(const char *command, const GError *error, const char *const *names);

/* Parses argv by `context`, whose help is disabled and whose entries have G_OPTION_REMAINING, and frees the context.
 * Where help is asked for it is printed; where an option is wrong, a line as above. Returns the exit code then, else
 * -1. */
int eab_command_parse(const char *command, GOptionContext *context, int argc, char **argv, const char *const *names,
                      const gboolean *help);

/* Whether --backend can be this (NULL and "auto" can); prints a line where not. */
bool eab_command_backend_is_known(const char *command, const char *name);

/* auto or NULL: a GPU if one is here. Says so where this build could use one and there is none. */
const char *eab_command_resolve_backend(const char *command, const char *name);

/* The line that was given, as a shell reads it; g_free. */
char *eab_command_quote(const char *program, int argc, char **argv);

/* A length of time: a number of seconds, or a number with s, m, h or d behind it; below 1e9 s. False where it is
 * none. */
bool eab_command_read_duration(const char *text, double *seconds);

#endif
