/* CSV as in RFC 4180: a writer of rows, and a reader for files with any content.
 *
 * The reader streams, because a table may be larger than memory. It accepts LF and CRLF, and distinguishes a torn last
 * line (no newline follows it), which a crash can leave, from damage before the last line, which no crash leaves. The
 * length of a row and the number of its fields are bounded.
 */
#ifndef EAB_BASE_CSV_H
#define EAB_BASE_CSV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { EAB_CSV_MAX_ROW_BYTES = 1 << 20, EAB_CSV_MAX_FIELDS = 1024 };

/* ---- writing ------------------------------------------------------------------------------------------------- */

/* An unfinished row: `text` ends with it, `fields` counts its fields so far. */
typedef struct {
    GString *text;
    int32_t fields;
} eab_csv_line;

/* Appends a field, quoted where RFC 4180 requires it. */
void eab_csv_add_text(eab_csv_line *line, const char *text);

/* The same for text from outside (error messages, device names): cleaned by eab_line_clean first. */
void eab_csv_add_line(eab_csv_line *line, const char *text);

/* A count; a negative one means "not measured" and leaves the field empty. */
void eab_csv_add_count(eab_csv_line *line, int64_t count);

/* A measured real by "%.9g" in the C locale; NAN and infinities leave the field empty. */
void eab_csv_add_real(eab_csv_line *line, double value);

/* Ends the row with a newline; the next field begins a new row in the same text. */
void eab_csv_end(eab_csv_line *line);

/* `text` as one line of valid UTF-8: control characters become spaces, spaces at the ends are removed. g_free */
char *eab_line_clean(const char *text);

/* ---- reading ------------------------------------------------------------------------------------------------- */

typedef enum {
    EAB_CSV_ROW,
    EAB_CSV_END,       /* after the last newline */
    EAB_CSV_TORN,      /* the bytes from row.begin to the end of the file are not a whole row */
    EAB_CSV_DAMAGED,   /* not RFC 4180, or over a bound: eab_last_error() has the mistake, row.line the line */
    EAB_CSV_UNREADABLE /* an I/O error: eab_last_error() */
} eab_csv_event;

typedef struct {
    char **field;       /* [fields], each NUL-terminated; valid until the next call */
    int32_t fields;     /* an empty line is one empty field */
    int64_t line;       /* where the row begins, from 1 */
    int64_t begin, end; /* its bytes in the file, the newline included */
} eab_csv_row;

typedef struct eab_csv_reader eab_csv_reader;

/* Reads from `file`, which must be at byte 0; the caller closes it after the reader was freed. */
eab_csv_reader *eab_csv_reader_new(FILE *file);
eab_csv_event eab_csv_read(eab_csv_reader *reader, eab_csv_row *row);

/* Continues at this byte of the file, where a row begins; line numbers are then wrong. EAB_IO, with errno. */
int eab_csv_seek(eab_csv_reader *reader, int64_t offset);
void eab_csv_reader_free(eab_csv_reader *reader);

#endif
