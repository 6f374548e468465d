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

/* Does not wait for the other end of a pipe. */
int eab_table_open_read(const char *path, FILE **file) {
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

static int check_header(const char *path, const eab_table_layout *layout, const eab_csv_row *row) {
    const int32_t count = (int32_t)g_strv_length((char **)layout->columns);
    for (int32_t i = 0; i < MAX(count, row->fields); i++) {
        const char *found = i < row->fields ? row->field[i] : "", *expected = i < count ? layout->columns[i] : "";
        char shown[80];
        if (strcmp(found, expected) != 0)
            return eab_fail(EAB_BAD_INPUT,
                            "%s:1: column %d is '%s', not '%s'; the header of this version of eabench is "
                            "allowed, or another --out",
                            path, i + 1, eab_excerpt(found, 60, shown, sizeof shown), expected);
    }
    return EAB_OK;
}

/* A file without a newline is ours if it is the beginning of our header, or zeros that a crash of the machine left in
 * its place. */
static int check_torn_header(const char *path, const eab_table_layout *layout, FILE *file) {
    char text[16384];
    GString *header = g_string_new(NULL);
    eab_table_header(layout, header);
    rewind(file);
    const size_t got = fread(text, 1, sizeof text, file);
    bool ours = got < header->len;
    for (size_t i = 0; i < got && ours; i++) ours = text[i] == header->str[i] || text[i] == '\0';
    g_string_free(header, TRUE);
    if (ours) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s:1: no header line; a table that eabench wrote is allowed, or another --out",
                    path);
}

/* Puts the file and the row's line before the last error. */
static int at_row(int status, const char *path, const eab_csv_row *row) {
    return eab_fail_prefix(status, "%s:%lld: ", path, (long long)row->line);
}

static int scan(const char *path, FILE *file, eab_csv_reader *reader, const eab_table_layout *layout,
                eab_table_visitor visitor, void *context, eab_table_facts *facts) {
    eab_csv_row row;
    eab_csv_event event;
    int32_t columns = 0;
    while ((event = eab_csv_read(reader, &row)) == EAB_CSV_ROW) {
        if (!columns) {
            EAB_TRY(check_header(path, layout, &row));
            columns = row.fields;
            continue;
        }
        if (row.fields != columns)
            return eab_fail(EAB_BAD_INPUT, "%s:%lld: %d field%s; the header has %d columns", path, (long long)row.line,
                            row.fields, row.fields == 1 ? "" : "s", columns);
        const int status = visitor(context, &row);
        if (status) return at_row(status, path, &row);
    }
    if (event == EAB_CSV_DAMAGED) return at_row(EAB_BAD_INPUT, path, &row);
    if (event == EAB_CSV_UNREADABLE) return at_row(EAB_IO, path, &row);
    facts->torn = event == EAB_CSV_TORN;
    facts->exists = columns > 0 || facts->torn;
    return facts->torn && !columns ? check_torn_header(path, layout, file) : EAB_OK;
}

int eab_table_scan(const char *path, const eab_table_layout *layout, eab_table_visitor visitor, void *context,
                   eab_table_facts *facts) {
    FILE *file;
    *facts = (eab_table_facts){0};
    EAB_TRY(eab_table_open_read(path, &file));
    if (!file) return EAB_OK;
    eab_csv_reader *reader = eab_csv_reader_new(file);
    const int status = scan(path, file, reader, layout, visitor, context, facts);
    eab_csv_reader_free(reader);
    fclose(file);
    return status;
}

int eab_table_read_rows(FILE *file, const char *path, const eab_table_rows *rows, GString *text) {
    const gsize before = text->len, size = (gsize)(rows->end - rows->begin);
    g_string_set_size(text, before + size);
    errno = EIO; /* for a file that has become shorter since it was scanned */
    if (fseeko(file, (off_t)rows->begin, SEEK_SET) == 0 && fread(text->str + before, 1, size, file) == size)
        return EAB_OK;
    return io_error(path, "cannot be read");
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

/* Copies the rows in pieces, as they may be larger than memory. */
static int copy_rows(const char *path, FILE *old, const eab_table_rows *rows, eab_replacement *replacement) {
    GString *text = g_string_new(NULL);
    int status = EAB_OK;
    for (int64_t at = rows->begin; at < rows->end && !status; at += PIECE_BYTES) {
        const eab_table_rows piece = {.begin = at, .end = MIN(rows->end, at + PIECE_BYTES)};
        g_string_truncate(text, 0);
        status = eab_table_read_rows(old, path, &piece, text);
        if (status) eab_replace_abandon(replacement);
        else status = eab_replace_write(replacement, text->str, text->len);
    }
    g_string_free(text, TRUE);
    return status;
}

/* After an error the replacement is abandoned. */
static int write_all(const char *path, FILE *old, const eab_table_layout *layout, const eab_table_rows *rows,
                     size_t count, eab_replacement *replacement) {
    GString *header = g_string_new(NULL);
    eab_table_header(layout, header);
    int status = eab_replace_write(replacement, header->str, header->len);
    for (size_t i = 0; i < count && !status; i++) status = copy_rows(path, old, &rows[i], replacement);
    g_string_free(header, TRUE);
    return status;
}

int eab_table_rewrite(const char *path, const eab_table_layout *layout, const eab_table_rows *rows, size_t count) {
    eab_replacement replacement;
    FILE *old;
    EAB_TRY(eab_table_open_read(path, &old));
    int status = eab_replace_begin(path, &replacement);
    if (!status) status = write_all(path, old, layout, rows, count, &replacement);
    if (!status) status = eab_replace_commit(&replacement, true);
    if (old) fclose(old);
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
