#include "table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/suggest.h"
#include "kernels/status.h"

enum { PIECE_BYTES = 1 << 20 };

static int io_error(const char *path, const char *what) {
    return eab_fail(EAB_IO, "%s: %s: %s", path, what, g_strerror(errno));
}

void eab_table_header(const eab_table_layout *layout, GString *text) {
    eab_csv_line line = {.text = text};
    for (const char *const *column = layout->columns; *column; column++) eab_csv_add_text(&line, *column);
    eab_csv_end(&line);
}

int32_t eab_table_column(const eab_table_layout *layout, const char *name) {
    for (int32_t i = 0; layout->columns[i]; i++)
        if (strcmp(layout->columns[i], name) == 0) return i;
    return -1;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct eab_table_reader {
    char *path;
    const eab_table_layout *layout;
    FILE *file;
    eab_csv_reader *csv;
    bool has_header, torn, older;
    int32_t columns;                       /* of the file */
    int32_t place[EAB_CSV_MAX_FIELDS + 1]; /* of the layout's columns in the file; -1: absent */
    char *field[EAB_CSV_MAX_FIELDS + 1];   /* of the last row, in the layout's order */
};

/* Opens a regular file; *file is NULL if there is none. Does not wait for the other end of a pipe. */
static int open_file(const char *path, FILE **file) {
    struct stat facts;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *file = NULL;
    if (fd < 0) return errno == ENOENT ? EAB_OK : io_error(path, "cannot be read");
    if (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode)) {
        *file = fdopen(fd, "r");
        if (*file) return EAB_OK;
        close(fd);
        return io_error(path, "cannot be read");
    }
    close(fd);
    return eab_fail(EAB_BAD_INPUT, "%s: not a regular file; a table of eabench is one, or choose another --out", path);
}

/* Finds the layout's columns in the header. */
static int read_header(eab_table_reader *reader, const eab_csv_row *row) {
    static const char allowed[] = "the columns of this version of eabench are allowed, or another --out";
    const char *const *columns = reader->layout->columns;
    const int32_t count = (int32_t)g_strv_length((char **)columns);
    char shown[80];
    reader->columns = row->fields;
    reader->older = row->fields != count;
    for (int32_t i = 0; i < count; i++) reader->place[i] = -1;
    for (int32_t i = 0; i < row->fields; i++) {
        const int32_t column = eab_table_column(reader->layout, row->field[i]);
        const char *const *dropped = reader->layout->dropped;
        if (column < 0 && dropped && g_strv_contains(dropped, row->field[i])) {
            reader->older = true;
            continue;
        }
        eab_excerpt(row->field[i], 60, shown, sizeof shown);
        if (column < 0)
            return eab_fail(EAB_BAD_INPUT, "%s:1: column %d is '%s'; nearest: %s; %s", reader->path, i + 1, shown,
                            eab_suggest(row->field[i], columns), allowed);
        if (reader->place[column] >= 0)
            return eab_fail(EAB_BAD_INPUT, "%s:1: column %d is '%s', as is column %d; %s", reader->path, i + 1, shown,
                            reader->place[column] + 1, allowed);
        reader->place[column] = i;
        reader->older = reader->older || column != i;
    }
    for (int32_t i = 0; i < count; i++)
        if (reader->place[i] < 0 && !(reader->layout->absent && reader->layout->absent(columns[i], NULL)))
            return eab_fail(EAB_BAD_INPUT, "%s:1: column '%s' is missing; %s", reader->path, columns[i], allowed);
    reader->has_header = true;
    return EAB_OK;
}

/* A file without a newline is ours if it is the beginning of a header, or zeros that a crash of the machine left in its
 * place. */
static int check_torn_header(const eab_table_reader *reader) {
    char text[16384] = "";
    rewind(reader->file);
    const size_t got = fread(text, 1, sizeof text - 1, reader->file), length = strlen(text);
    bool ours = got < sizeof text - 1;
    for (size_t i = length; i < got && ours; i++) ours = text[i] == '\0';
    char **names = g_strsplit(text, ",", -1);
    for (char **name = names; *name && ours; name++) {
        const char *const *column = reader->layout->columns;
        while (*column && (name[1] ? strcmp(*column, *name) != 0 : !g_str_has_prefix(*column, *name))) column++;
        ours = *column != NULL;
    }
    g_strfreev(names);
    if (ours) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s:1: no header line; a table that eabench wrote is allowed, or another --out",
                    reader->path);
}

/* Puts the file and the row's line before the last error. */
static int at_row(int status, const eab_table_reader *reader, const eab_csv_row *row) {
    return eab_fail_prefix(status, "%s:%lld: ", reader->path, (long long)row->line);
}

/* The row in the layout's order. */
static void arrange(eab_table_reader *reader, eab_csv_row *row) {
    const eab_table_layout *layout = reader->layout;
    int32_t i = 0;
    for (; layout->columns[i]; i++)
        reader->field[i] = reader->place[i] >= 0 ? row->field[reader->place[i]]
                                                 : (char *)layout->absent(layout->columns[i], reader->field);
    row->field = reader->field;
    row->fields = i;
}

/* *end: no row is left. */
static int next_row(eab_table_reader *reader, eab_csv_row *row, bool *end) {
    const eab_csv_event event = eab_csv_read(reader->csv, row);
    *end = event == EAB_CSV_END || event == EAB_CSV_TORN;
    reader->torn = event == EAB_CSV_TORN;
    if (event == EAB_CSV_DAMAGED) return at_row(EAB_BAD_INPUT, reader, row);
    if (event == EAB_CSV_UNREADABLE) return at_row(EAB_IO, reader, row);
    if (*end) return EAB_OK;
    if (!reader->has_header) return read_header(reader, row);
    if (row->fields != reader->columns)
        return eab_fail(EAB_BAD_INPUT, "%s:%lld: %d field%s; the header has %d columns", reader->path,
                        (long long)row->line, row->fields, row->fields == 1 ? "" : "s", reader->columns);
    if (reader->older) arrange(reader, row);
    return EAB_OK;
}

/* Opens the table and reads its header; *reader is NULL if there is no file. */
static int open_reader(const char *path, const eab_table_layout *layout, eab_table_reader **reader) {
    FILE *file;
    eab_csv_row row;
    bool end;
    *reader = NULL;
    EAB_TRY(open_file(path, &file));
    if (!file) return EAB_OK;
    *reader = g_new0(eab_table_reader, 1);
    **reader =
        (eab_table_reader){.path = g_strdup(path), .layout = layout, .file = file, .csv = eab_csv_reader_new(file)};
    int status = next_row(*reader, &row, &end);
    if (!status && (*reader)->torn) status = check_torn_header(*reader);
    if (status) g_clear_pointer(reader, eab_table_reader_close);
    return status;
}

int eab_table_reader_open(const char *path, const eab_table_layout *layout, eab_table_reader **reader) {
    EAB_TRY(open_reader(path, layout, reader));
    if (*reader && !(*reader)->has_header) g_clear_pointer(reader, eab_table_reader_close);
    return EAB_OK;
}

void eab_table_reader_close(eab_table_reader *reader) {
    if (!reader) return;
    eab_csv_reader_free(reader->csv);
    fclose(reader->file);
    g_free(reader->path);
    g_free(reader);
}

static int scan(eab_table_reader *reader, eab_table_visitor visitor, void *context) {
    eab_csv_row row;
    bool end = !reader->has_header;
    while (!end) {
        EAB_TRY(next_row(reader, &row, &end));
        const int status = end ? EAB_OK : visitor(context, &row);
        if (status) return at_row(status, reader, &row);
    }
    return EAB_OK;
}

int eab_table_scan(const char *path, const eab_table_layout *layout, eab_table_visitor visitor, void *context,
                   eab_table_facts *facts, eab_table_reader **scanned) {
    eab_table_reader *reader;
    *facts = (eab_table_facts){0};
    if (scanned) *scanned = NULL;
    EAB_TRY(open_reader(path, layout, &reader));
    if (!reader) return EAB_OK;
    facts->older = reader->older;
    const int status = scan(reader, visitor, context);
    facts->exists = reader->has_header || reader->torn;
    facts->torn = reader->torn;
    if (scanned && !status && reader->has_header) *scanned = reader;
    else eab_table_reader_close(reader);
    return status;
}

/* Copies bytes, as the table's rows are the layout's. */
static int copy_bytes(const eab_table_reader *reader, eab_table_rows *rows, GString *text) {
    const gsize before = text->len, size = (gsize)MIN(rows->end - rows->begin, PIECE_BYTES);
    g_string_set_size(text, before + size);
    errno = EIO; /* for a file that has become shorter since it was scanned */
    if (fseeko(reader->file, (off_t)rows->begin, SEEK_SET) || fread(text->str + before, 1, size, reader->file) != size)
        return io_error(reader->path, "cannot be read");
    rows->begin += (int64_t)size;
    return EAB_OK;
}

int eab_table_read(eab_table_reader *reader, eab_table_rows *rows, GString *text) {
    if (!reader) return eab_fail(EAB_IO, "a table was removed while it was read");
    if (!reader->older) return copy_bytes(reader, rows, text);
    const gsize most = text->len + PIECE_BYTES;
    if (eab_csv_seek(reader->csv, rows->begin)) return io_error(reader->path, "cannot be read");
    while (rows->begin < rows->end && text->len < most) {
        eab_csv_row row;
        bool end;
        eab_csv_line line = {.text = text};
        EAB_TRY(next_row(reader, &row, &end));
        if (end) return eab_fail(EAB_IO, "%s: it has become shorter", reader->path);
        for (int32_t i = 0; i < row.fields; i++) eab_csv_add_text(&line, row.field[i]);
        eab_csv_end(&line);
        rows->begin = row.end;
    }
    return EAB_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static int copy_rows(eab_table_reader *old, eab_table_rows rows, eab_replacement *replacement) {
    GString *text = g_string_new(NULL);
    int status = EAB_OK;
    while (rows.begin < rows.end && !status) {
        g_string_truncate(text, 0);
        status = eab_table_read(old, &rows, text);
        if (status) eab_replace_abandon(replacement);
        else status = eab_replace_write(replacement, text->str, text->len);
    }
    g_string_free(text, TRUE);
    return status;
}

/* After an error the replacement is abandoned. */
static int write_all(eab_table_reader *old, const eab_table_layout *layout, const eab_table_rows *rows, size_t count,
                     eab_replacement *replacement) {
    GString *header = g_string_new(NULL);
    eab_table_header(layout, header);
    int status = eab_replace_write(replacement, header->str, header->len);
    for (size_t i = 0; i < count && !status; i++) status = copy_rows(old, rows[i], replacement);
    g_string_free(header, TRUE);
    return status;
}

int eab_table_rewrite(const char *path, const eab_table_layout *layout, const eab_table_rows *rows, size_t count) {
    eab_replacement replacement;
    eab_table_reader *old;
    EAB_TRY(eab_table_reader_open(path, layout, &old));
    int status = eab_replace_begin(path, &replacement);
    if (!status) status = write_all(old, layout, rows, count, &replacement);
    if (!status) status = eab_replace_commit(&replacement, true);
    eab_table_reader_close(old);
    return status;
}

int eab_table_open(const char *path, eab_table_file *file) {
    *file = (eab_table_file){.path = g_strdup(path),
                             .fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)};
    if (file->fd >= 0) return EAB_OK;
    const int status = io_error(path, "cannot be written");
    eab_table_close(file);
    return status;
}

int eab_table_append(eab_table_file *file, const GString *text) {
    size_t written;
    if (!eab_write_all(file->fd, text->str, text->len, &written))
        return eab_sync(file->fd) ? io_error(file->path, "cannot be written") : EAB_OK;
    const int status = io_error(file->path, "cannot be written");
    const char *last = g_strrstr_len(text->str, (gssize)written, "\n");
    const off_t whole = last ? last + 1 - text->str : 0;
    const off_t end = lseek(file->fd, 0, SEEK_END);
    /* If even this fails, the next sweep drops the torn line. */
    if (end >= (off_t)written && ftruncate(file->fd, end - (off_t)written + whole) == 0) eab_sync(file->fd);
    return status;
}

void eab_table_close(eab_table_file *file) {
    if (file->path && file->fd >= 0) close(file->fd);
    g_clear_pointer(&file->path, g_free);
}
