/* Files and their names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

static gboolean is_folder(const gchar *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static gboolean is_file(const gchar *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

static gboolean is_link(const gchar *path) {
    struct stat facts;
    return lstat(path, &facts) == 0 && S_ISLNK(facts.st_mode);
}

gboolean g_file_test(const gchar *path, GFileTest test) {
    return ((test & G_FILE_TEST_EXISTS) && access(path, F_OK) == 0) ||
           ((test & G_FILE_TEST_IS_DIR) && is_folder(path)) || ((test & G_FILE_TEST_IS_REGULAR) && is_file(path)) ||
           ((test & G_FILE_TEST_IS_SYMLINK) && is_link(path));
}

/* Whether all could be read; else errno tells why not. */
static gboolean read_all(gint file, GString *text) {
    gchar chunk[4096];
    for (;;) {
        const ssize_t got = read(file, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got == 0;
        g_string_append_len(text, chunk, got);
    }
}

gboolean g_file_get_contents(const gchar *path, gchar **text, gsize *length, GError **error) {
    g_assert(!error);
    *text = NULL;
    const gint file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return FALSE;
    GString *read = g_string_new(NULL);
    const gboolean whole = read_all(file, read);
    const gint reason = errno;
    close(file);
    errno = reason;
    if (whole && length) *length = read->len;
    *text = g_string_free(read, !whole);
    return whole;
}

gint g_mkdir_with_parents(const gchar *path, gint mode) {
    if (!path || !*path) {
        errno = EINVAL;
        return -1;
    }
    gchar *folder = g_strdup(path);
    gint status = 0;
    for (gchar *end = folder; !status && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        const gchar kept = *end;
        *end = '\0';
        if (mkdir(folder, (mode_t)mode) && (errno == EEXIST || is_folder(folder))) {
            if (!is_folder(folder)) {
                errno = ENOTDIR;
                status = -1;
            }
        } else if (!is_folder(folder)) {
            status = -1;
        }
        *end = kept;
    }
    const gint reason = errno;
    g_free(folder);
    errno = reason;
    return status;
}

/* ---- what is in a folder --------------------------------------------------------------------------------------- */

struct GDir {
    DIR *stream;
};

GQuark g_file_error_quark(void) { return 2; } /* g_option_error_quark() is 1 */

GDir *g_dir_open(const gchar *path, guint flags, GError **error) {
    DIR *stream = opendir(path);
    g_assert(!flags);
    if (!stream) {
        const GFileError code = errno == ENOENT    ? G_FILE_ERROR_NOENT
                                : errno == ENOTDIR ? G_FILE_ERROR_NOTDIR
                                                   : G_FILE_ERROR_FAILED;
        eab_subset_set_error(error, G_FILE_ERROR, (gint)code, "Error opening directory “%s”: %s", path,
                             g_strerror(errno));
        return NULL;
    }
    GDir *folder = g_new(GDir, 1);
    folder->stream = stream;
    return folder;
}

const gchar *g_dir_read_name(GDir *folder) {
    const struct dirent *entry;
    do entry = readdir(folder->stream);
    while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry ? entry->d_name : NULL;
}

void g_dir_close(GDir *folder) {
    closedir(folder->stream);
    g_free(folder);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

gchar *g_path_get_dirname(const gchar *path) {
    const gchar *slash = strrchr(path, '/');
    if (!slash) return g_strdup(".");
    while (slash > path && slash[-1] == '/') slash--;
    return g_strndup(path, slash > path ? (gsize)(slash - path) : 1);
}

gchar *g_path_get_basename(const gchar *path) {
    gsize end = strlen(path);
    if (!end) return g_strdup(".");
    while (end && path[end - 1] == '/') end--;
    if (!end) return g_strdup("/");
    gsize begin = end;
    while (begin && path[begin - 1] != '/') begin--;
    return g_strndup(path + begin, end - begin);
}

/* By the text alone: links are not followed. */
gchar *g_canonicalize_filename(const gchar *path, const gchar *relative_to) {
    g_assert(!relative_to);
    gchar *here = *path == '/' ? NULL : getcwd(NULL, 0), *joined = g_strconcat(here ? here : "", "/", path, NULL);
    gchar **parts = g_strsplit(joined, "/", -1);
    GString *plain = g_string_new(NULL);
    for (gchar **part = parts; *part; part++) {
        if (!**part || strcmp(*part, ".") == 0) continue;
        if (strcmp(*part, "..") == 0) {
            const gchar *slash = strrchr(plain->str, '/');
            g_string_truncate(plain, slash ? (gsize)(slash - plain->str) : 0);
        } else {
            g_string_append_c(plain, '/');
            g_string_append(plain, *part);
        }
    }
    if (!plain->len) g_string_append_c(plain, '/');
    g_strfreev(parts);
    g_free(joined);
    free(here); /* the C library's */
    return g_string_free(plain, FALSE);
}

gchar *g_build_filename(const gchar *first, ...) {
    GString *path = g_string_new(first);
    va_list arguments;
    va_start(arguments, first);
    for (const gchar *part; (part = va_arg(arguments, const gchar *));) {
        if (!*part) continue;
        if (path->len) { /* one slash where they meet */
            while (path->len && path->str[path->len - 1] == '/') g_string_truncate(path, path->len - 1);
            g_string_append_c(path, '/');
            part += strspn(part, "/");
        }
        g_string_append(path, part);
    }
    va_end(arguments);
    return g_string_free(path, FALSE);
}
