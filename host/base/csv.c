#include "csv.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/status.h"

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
    FILE *file;
    int64_t offset, line; /* of the next byte */
    GString *text;        /* the row's fields, each with its NUL; has room for the longest row, so it never moves */
    char *field[EAB_CSV_MAX_FIELDS];
};

eab_csv_reader *eab_csv_reader_new(FILE *file) {
    eab_csv_reader *reader = g_new(eab_csv_reader, 1);
    reader->file = file;
    reader->offset = 0;
    reader->line = 1;
    reader->text = g_string_sized_new(EAB_CSV_MAX_ROW_BYTES);
    return reader;
}

void eab_csv_reader_free(eab_csv_reader *reader) {
    g_string_free(reader->text, TRUE);
    g_free(reader);
}

int eab_csv_seek(eab_csv_reader *reader, int64_t offset) {
    if (reader->offset == offset) return EAB_OK;
    if (fseeko(reader->file, (off_t)offset, SEEK_SET)) return eab_fail(EAB_IO, "%s", g_strerror(errno));
    reader->offset = offset;
    return EAB_OK;
}

static int next_byte(eab_csv_reader *reader) {
    const int byte = getc_unlocked(reader->file);
    reader->offset += byte != EOF;
    reader->line += byte == '\n';
    return byte;
}

/* At the end of the file or an I/O error. */
static eab_csv_event end_of_file(const eab_csv_reader *reader, const eab_csv_row *row) {
    if (!ferror(reader->file)) return reader->offset == row->begin ? EAB_CSV_END : EAB_CSV_TORN;
    eab_fail(EAB_IO, "%s", g_strerror(errno));
    return EAB_CSV_UNREADABLE;
}

/* A mistake is damage only if a newline follows (or `byte` was one): the last line may be torn in any way. */
static eab_csv_event damaged(eab_csv_reader *reader, const eab_csv_row *row, int byte, const char *mistake) {
    while (byte != '\n' && byte != EOF) byte = next_byte(reader);
    if (byte == EOF) return end_of_file(reader, row);
    eab_fail(EAB_BAD_INPUT, "%s", mistake);
    return EAB_CSV_DAMAGED;
}

eab_csv_event eab_csv_read(eab_csv_reader *reader, eab_csv_row *row) {
    enum { START, PLAIN, QUOTED, QUOTE_SEEN, RETURN_SEEN } state = START;
    GString *text = g_string_truncate(reader->text, 0);
    *row = (eab_csv_row){.field = reader->field, .line = reader->line, .begin = reader->offset, .end = reader->offset};
    reader->field[0] = text->str;
    for (;;) {
        const int byte = next_byte(reader);
        if (byte == EOF) return end_of_file(reader, row);
        if (byte == 0) return damaged(reader, row, byte, "a NUL byte; a CSV table is text");
        if (reader->offset - row->begin > EAB_CSV_MAX_ROW_BYTES)
            return damaged(reader, row, byte, "a row of more than 1 MiB; at most 1 MiB is allowed");
        if (state == RETURN_SEEN && byte != '\n')
            return damaged(reader, row, byte, "a carriage return within a row; rows end with LF or CR LF");

        if (state == QUOTED && byte != '"') {
            g_string_append_c(text, (char)byte);
        } else if (state == QUOTED) {
            state = QUOTE_SEEN;
        } else if (state == START && byte == '"') {
            state = QUOTED;
        } else if (state == QUOTE_SEEN && byte == '"') { /* "" within quotes */
            g_string_append_c(text, '"');
            state = QUOTED;
        } else if (byte == ',' || byte == '\n') {
            g_string_append_c(text, '\0');
            row->fields++;
            if (byte == '\n') break;
            if (row->fields == EAB_CSV_MAX_FIELDS)
                return damaged(reader, row, byte, "more than 1024 fields in a row; at most 1024 are allowed");
            reader->field[row->fields] = text->str + text->len;
            state = START;
        } else if (byte == '\r') {
            state = RETURN_SEEN;
        } else if (byte == '"') {
            return damaged(reader, row, byte, "a quote within an unquoted field; such a field is quoted as a whole");
        } else if (state == QUOTE_SEEN) {
            return damaged(reader, row, byte, "text after a closing quote; a comma or the end of the line follows it");
        } else {
            g_string_append_c(text, (char)byte);
            state = PLAIN;
        }
    }
    row->end = reader->offset;
    return EAB_CSV_ROW;
}
