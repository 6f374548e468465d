#include "table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/replace.h"
#include "base/suggest.h"
#include "kernels/status.h"

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

/* Opens a regular file; *fd is -1 where there is none. Never waits for a pipe's other end. */
static int open_table(const char *path, int *fd) {
    struct stat facts;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return errno == ENOENT ? EAB_OK : io_error(path, "cannot be read");
    if (fstat(*fd, &facts) == 0 && S_ISREG(facts.st_mode)) return EAB_OK;
    close(*fd);
    *fd = -1;
    return eab_fail(EAB_BAD_INPUT, "%s: not a regular file; a table of eabench is one, or choose another --out", path);
}

static int check_header(const char *path, const eab_table_layout *layout, const eab_csv_row *row) {
    int32_t count = 0;
    for (; layout->columns[count]; count++) {
        const char *name = count < row->fields ? row->field[count] : "";
        char found[80];
        if (strcmp(name, layout->columns[count]) != 0)
            return eab_fail(EAB_BAD_INPUT,
                            "%s:1: column %d is '%s', not '%s'; the header of this version of eabench is "
                            "allowed, or another --out",
                            path, count + 1, eab_excerpt(name, 60, found, sizeof found), layout->columns[count]);
    }
    if (row->fields > count)
        return eab_fail(EAB_BAD_INPUT,
                        "%s:1: %d columns; the %d of this version of eabench are allowed, or another --out", path,
                        row->fields, count);
    return EAB_OK;
}

/* A file without a newline is ours if it is the beginning of our header, or zeros that a crash of the machine left in
 * its place. */
static int check_torn_header(const char *path, const eab_table_layout *layout, int fd) {
    GString *line = g_string_new(NULL);
    eab_table_header(layout, line);
    char text[16384];
    const ssize_t got = pread(fd, text, sizeof text, 0);
    bool ours = got >= 0 && (size_t)got < line->len;
    for (ssize_t i = 0; i < got && ours; i++) ours = text[i] == line->str[i] || text[i] == '\0';
    g_string_free(line, TRUE);
    return ours ? EAB_OK
                : eab_fail(EAB_BAD_INPUT,
                           "%s:1: no header line; a table that eabench wrote is allowed, or another --out", path);
}

/* Puts the file and the row's line before the last error. */
static int at_row(int status, const char *path, const eab_csv_row *row) {
    return eab_fail_prefix(status, "%s:%lld: ", path, (long long)row->line);
}

static int scan(const char *path, int fd, eab_csv_reader *reader, const eab_table_layout *layout,
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
    facts->exists = columns > 0;
    facts->torn = event == EAB_CSV_TORN;
    return facts->torn && !columns ? check_torn_header(path, layout, fd) : EAB_OK;
}

int eab_table_scan(const char *path, const eab_table_layout *layout, eab_table_visitor visitor, void *context,
                   eab_table_facts *facts) {
    int fd;
    *facts = (eab_table_facts){0};
    EAB_TRY(open_table(path, &fd));
    if (fd < 0) return EAB_OK;
    eab_csv_reader *reader = eab_csv_reader_new(fd);
    const int status = scan(path, fd, reader, layout, visitor, context, facts);
    eab_csv_reader_free(reader);
    close(fd);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

int eab_table_rows_compare(const void *a, const void *b) {
    const eab_table_rows *left = a, *right = b;
    if (left->cell != right->cell) return left->cell < right->cell ? -1 : 1;
    return left->begin < right->begin ? -1 : left->begin > right->begin;
}

static int copy_rows(const char *path, int from, const eab_table_rows *rows, eab_replacement *replacement) {
    char chunk[1 << 16];
    for (int64_t at = rows->begin; at < rows->end;) {
        const int64_t left = rows->end - at;
        const ssize_t got = pread(from, chunk, (size_t)MIN(left, (int64_t)sizeof chunk), (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = EIO; /* it was longer when it was scanned */
            return io_error(path, "cannot be read");
        }
        EAB_TRY(eab_replace_write(replacement, chunk, (size_t)got));
        at += got;
    }
    return EAB_OK;
}

static int copy_all(const char *const *sources, const eab_table_rows *rows, size_t count,
                    eab_replacement *replacement) {
    int from = -1, status = EAB_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const char *path = sources[rows[i].source];
        if (i == 0 || rows[i].source != rows[i - 1].source) {
            if (from >= 0) close(from);
            status = open_table(path, &from);
        }
        if (!status) status = copy_rows(path, from, &rows[i], replacement);
    }
    if (from >= 0) close(from);
    return status;
}

int eab_table_rewrite(const eab_table_layout *layout, const char *const *sources, const eab_table_rows *rows,
                      size_t count) {
    eab_replacement replacement;
    EAB_TRY(eab_replace_begin(sources[0], &replacement));
    GString *header = g_string_new(NULL);
    eab_table_header(layout, header);
    int status = eab_replace_write(&replacement, header->str, header->len);
    if (!status) status = copy_all(sources, rows, count, &replacement);
    g_string_free(header, TRUE);
    if (!status) return eab_replace_commit(&replacement);
    eab_replace_abandon(&replacement);
    return status;
}

int eab_table_open(const char *path, eab_table_file *file) {
    struct stat facts;
    *file = (eab_table_file){.path = g_strdup(path),
                             .fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)};
    if (file->fd < 0 || fstat(file->fd, &facts)) {
        const int status = io_error(path, "cannot be written");
        eab_table_close(file);
        return status;
    }
    file->size = facts.st_size;
    return EAB_OK;
}

int eab_table_append(eab_table_file *file, const GString *text) {
    size_t written;
    if (!eab_write_all(file->fd, text->str, text->len, &written)) {
        file->size += (int64_t)text->len;
        return EAB_OK;
    }
    const int status = io_error(file->path, "cannot be written");
    const char *last = g_strrstr_len(text->str, (gssize)written, "\n");
    if (last) file->size += last + 1 - text->str;
    /* If even this fails, the next sweep drops the torn line. */
    if (ftruncate(file->fd, (off_t)file->size) == 0) eab_sync(file->fd);
    return status;
}

int eab_table_sync(eab_table_file *file) {
    return eab_sync(file->fd) ? io_error(file->path, "cannot be written") : EAB_OK;
}

void eab_table_close(eab_table_file *file) {
    if (file->path && file->fd >= 0) close(file->fd);
    file->fd = -1;
    g_clear_pointer(&file->path, g_free);
}
