#include "csv.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "kernels/status.h"

enum { CHUNK_BYTES = 1 << 16 };

/* ---- writing ------------------------------------------------------------------------------------------------- */

void eab_csv_add_text(eab_csv_line *line, const char *text) {
    if (line->fields++) g_string_append_c(line->text, ',');
    if (!strpbrk(text, ",\"\r\n")) {
        g_string_append(line->text, text);
        return;
    }
    g_string_append_c(line->text, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"') g_string_append_c(line->text, '"');
        g_string_append_c(line->text, *c);
    }
    g_string_append_c(line->text, '"');
}

char *eab_line_clean(const char *text) {
    char *clean = g_utf8_make_valid(text, -1);
    for (char *c = clean; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = ' ';
        if ((unsigned char)*c == 0xC2 && (unsigned char)c[1] < 0xA0) *c = c[1] = ' '; /* U+0080..U+009F */
    }
    return g_strstrip(clean);
}

void eab_csv_add_line(eab_csv_line *line, const char *text) {
    char *clean = eab_line_clean(text);
    eab_csv_add_text(line, clean);
    g_free(clean);
}

void eab_csv_add_count(eab_csv_line *line, int64_t count) {
    char text[32] = "";
    if (count >= 0) g_snprintf(text, sizeof text, "%" G_GINT64_FORMAT, (gint64)count);
    eab_csv_add_text(line, text);
}

void eab_csv_add_real(eab_csv_line *line, double value) {
    char text[G_ASCII_DTOSTR_BUF_SIZE] = "";
    if (isfinite(value)) g_ascii_formatd(text, sizeof text, "%.9g", value);
    eab_csv_add_text(line, text);
}

void eab_csv_end(eab_csv_line *line) {
    g_string_append_c(line->text, '\n');
    line->fields = 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct eab_csv_reader {
    int fd;
    char chunk[CHUNK_BYTES];
    size_t used, filled; /* of chunk */
    int64_t offset;      /* in the file, of chunk[used] */
    int64_t line;        /* that chunk[used] is on */
    GString *text;       /* the row's fields, each with its NUL */
    size_t starts[EAB_CSV_MAX_FIELDS];
    char *field[EAB_CSV_MAX_FIELDS];
};

enum { BYTE_END = -1, BYTE_ERROR = -2 };

/* The next byte, BYTE_END or BYTE_ERROR. */
static int next_byte(eab_csv_reader *reader) {
    if (reader->used == reader->filled) {
        ssize_t got;
        do got = pread(reader->fd, reader->chunk, CHUNK_BYTES, (off_t)reader->offset);
        while (got < 0 && errno == EINTR);
        if (got < 0) return BYTE_ERROR;
        if (got == 0) return BYTE_END;
        reader->used = 0;
        reader->filled = (size_t)got;
    }
    const unsigned char byte = (unsigned char)reader->chunk[reader->used++];
    reader->offset++;
    if (byte == '\n') reader->line++;
    return byte;
}

eab_csv_reader *eab_csv_reader_new(int fd) {
    eab_csv_reader *reader = g_new(eab_csv_reader, 1);
    reader->fd = fd;
    reader->used = reader->filled = 0;
    reader->offset = 0;
    reader->line = 1;
    reader->text = g_string_new(NULL);
    return reader;
}

void eab_csv_reader_free(eab_csv_reader *reader) {
    if (!reader) return;
    g_string_free(reader->text, TRUE);
    g_free(reader);
}

static eab_csv_event unreadable(void) {
    eab_fail(EAB_IO, "%s", g_strerror(errno));
    return EAB_CSV_UNREADABLE;
}

/* What is wrong is damage only if a newline follows (or `byte` was one): the last line may be torn in any way. */
static eab_csv_event damaged(eab_csv_reader *reader, int byte, const char *what) {
    while (byte != '\n') {
        if (byte == BYTE_END) return EAB_CSV_TORN;
        if (byte == BYTE_ERROR) return unreadable();
        byte = next_byte(reader);
    }
    eab_fail(EAB_BAD_INPUT, "%s", what);
    return EAB_CSV_DAMAGED;
}

eab_csv_event eab_csv_read(eab_csv_reader *reader, eab_csv_row *row) {
    enum { START, PLAIN, QUOTED, QUOTE_SEEN, RETURN_SEEN } state = START;
    g_string_truncate(reader->text, 0);
    row->field = reader->field;
    row->fields = 0;
    row->begin = row->end = reader->offset;
    row->line = reader->line;
    reader->starts[0] = 0;
    for (;;) {
        const int byte = next_byte(reader);
        if (byte == BYTE_ERROR) return unreadable();
        if (byte == BYTE_END) return reader->offset == row->begin ? EAB_CSV_END : EAB_CSV_TORN;
        if (byte == 0) return damaged(reader, byte, "a NUL byte; a CSV table is text");
        if (reader->offset - row->begin > EAB_CSV_MAX_ROW_BYTES)
            return damaged(reader, byte, "a row of more than 1 MiB; at most 1 MiB is allowed");

        if (state == RETURN_SEEN && byte != '\n')
            return damaged(reader, byte, "a carriage return within a row; rows end with LF or CR LF");
        if (state == QUOTED) {
            if (byte == '"') state = QUOTE_SEEN;
            else g_string_append_c(reader->text, (char)byte);
            continue;
        }
        if (byte == '"' && state == START) {
            state = QUOTED;
            continue;
        }
        if (byte == '"' && state == QUOTE_SEEN) { /* "" within quotes */
            g_string_append_c(reader->text, '"');
            state = QUOTED;
            continue;
        }
        if (byte == ',' || byte == '\n') {
            g_string_append_c(reader->text, '\0');
            row->fields++;
            if (byte == '\n') break;
            if (row->fields == EAB_CSV_MAX_FIELDS)
                return damaged(reader, byte, "more than 1024 fields in a row; at most 1024 are allowed");
            reader->starts[row->fields] = reader->text->len;
            state = START;
        } else if (byte == '\r') {
            state = RETURN_SEEN;
        } else if (byte == '"') {
            return damaged(reader, byte, "a quote within an unquoted field; a field with quotes is quoted as a whole");
        } else if (state == QUOTE_SEEN) {
            return damaged(reader, byte, "text after a closing quote; a comma or the end of the line follows it");
        } else {
            g_string_append_c(reader->text, (char)byte);
            state = PLAIN;
        }
    }
    for (int32_t i = 0; i < row->fields; i++) reader->field[i] = reader->text->str + reader->starts[i];
    row->end = reader->offset;
    return EAB_CSV_ROW;
}
