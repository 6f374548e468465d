/* Every line that the program writes to stderr: plain text, or with --progress json an object a line, each with `event`
 * and `time` (docs/long-runs.md). A line is written at once, so that lines of several threads do not mix. Any thread.
 */
#ifndef EAB_BASE_LOG_H
#define EAB_BASE_LOG_H

#include <glib.h>
#include <stdbool.h>

/* Makes messages of GLib lines of this log. Call it first, once. */
void eab_log_open(void);

/* Whether lines are objects from now on. Call this and eab_log_redirect while there is only one thread. */
void eab_log_use_json(bool json);

/* From now on notes and errors go to `sink` (without a newline), and nothing is written; NULL: to stderr again. */
void eab_log_redirect(void (*sink)(void *context, const char *text), void *context);

/* A message or an error: a line behind "eabench COMMAND: " ("": "eabench: ", NULL: nothing), or an event "note" or
 * "error" with `text`. An error becomes one line of valid UTF-8, as it may contain file names. */
void eab_log_note(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
void eab_log_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An event of another name, to which the caller adds members; NULL if lines are plain. The end writes and frees it. */
GString *eab_log_begin_event(const char *name);
void eab_log_end_event(GString *json);

/* Plain lines only: a line as it is, and a live line on a terminal, which replaces the one before (NULL: removes it).
 * Any other line removes it, too. */
void eab_log_line(const char *text);
void eab_log_live(const char *text);

/* An error, as it is, from a signal handler. Writes nothing while a thread writes a line or lines are redirected. */
void eab_log_from_handler(const char *text);

#endif
