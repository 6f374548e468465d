/* CSV as in RFC 4180: a writer of rows and a reader that takes nothing on trust.
 *
 * The reader streams (a table may be larger than memory), takes LF and CRLF, and tells apart what a crash leaves (a
 * torn last line: no newline follows it) from what it cannot leave (damage in the middle). Every length is bounded.
 */
#ifndef EAB_BASE_CSV_H
#define EAB_BASE_CSV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { EAB_CSV_MAX_ROW_BYTES = 1 << 20, EAB_CSV_MAX_FIELDS = 1024 };

/* ---- writing ------------------------------------------------------------------------------------------------- */

/* A row in the making; `text` holds it, `fields` counts what was added. */
typedef struct {
    GString *text;
    int32_t fields;
} eab_csv_line;

/* Appends a field, quoted where RFC 4180 asks for it. NUL-terminated, so a NUL cannot get in. */
void eab_csv_add_text(eab_csv_line *line, const char *text);

/* The same for text from outside (error lines, device names): made valid UTF-8 on one line first. */
void eab_csv_add_line(eab_csv_line *line, const char *text);

/* A count; negative stands for "not measured" and leaves the field empty. */
void eab_csv_add_count(eab_csv_line *line, int64_t count);

/* A measured real by "%.9g" in the C locale; NAN and infinities leave the field empty. */
void eab_csv_add_real(eab_csv_line *line, double value);

/* Ends the row with a newline and starts the next one in the same text. */
void eab_csv_end(eab_csv_line *line);

/* `text` as one line of valid UTF-8: control characters become spaces, spaces at the ends go. Free with g_free. */
char *eab_line_clean(const char *text);

/* ---- reading ------------------------------------------------------------------------------------------------- */

typedef enum {
    EAB_CSV_ROW,
    EAB_CSV_END,       /* after the last newline */
    EAB_CSV_TORN,      /* the bytes from row.begin to the end of the file hold no whole row */
    EAB_CSV_DAMAGED,   /* not RFC 4180, or over a bound; eab_last_error() says what, row.line where */
    EAB_CSV_UNREADABLE /* an I/O error; eab_last_error() */
} eab_csv_event;

typedef struct {
    char **field;       /* [fields], each NUL-terminated; valid until the next call */
    int32_t fields;     /* an empty line is one empty field */
    int64_t line;       /* where the row begins, from 1 */
    int64_t begin, end; /* its bytes in the file, the newline included */
} eab_csv_row;

typedef struct eab_csv_reader eab_csv_reader;

/* Reads from byte 0 of `fd`, which stays the caller's and keeps its offset. */
eab_csv_reader *eab_csv_reader_new(int fd);
eab_csv_event eab_csv_read(eab_csv_reader *reader, eab_csv_row *row);
void eab_csv_reader_free(eab_csv_reader *reader);

#endif
