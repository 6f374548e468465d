#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/status.h"

int eab_small_file_read(const char *path, size_t most, const char *allowed, char **text) {
    struct stat facts;
    gsize size;
    *text = NULL;
    if (stat(path, &facts)) {
        if (errno == ENOENT) return EAB_OK;
        return eab_fail(EAB_IO, "%s: cannot be read: %s", path, g_strerror(errno));
    }
    if (!S_ISREG(facts.st_mode)) return eab_fail(EAB_BAD_INPUT, "%s: not a regular file; %s", path, allowed);
    if ((size_t)facts.st_size > most)
        return eab_fail(EAB_BAD_INPUT, "%s: larger than %zu bytes; %s", path, most, allowed);
    GError *error = NULL;
    if (!g_file_get_contents(path, text, &size, &error)) {
        eab_fail(EAB_IO, "%s", error->message);
        g_error_free(error);
        return EAB_IO;
    }
    if (strlen(*text) == size) return EAB_OK;
    g_clear_pointer(text, g_free);
    return eab_fail(EAB_BAD_INPUT, "%s: it has NUL bytes; %s", path, allowed);
}

int eab_folder_make(const char *path) {
    struct stat facts;
    if (mkdir(path, 0777) && errno != EEXIST)
        return eab_fail(EAB_IO, "%s: cannot be created: %s", path, g_strerror(errno));
    if (lstat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: not a folder; a folder, or a name that is free, is allowed", path);
}

int eab_folder_refuse(const char *path, const char *table, const char *holder, const char *wanted) {
    char *file = g_build_filename(path, table, NULL);
    const bool found = g_file_test(file, G_FILE_TEST_EXISTS);
    g_free(file);
    if (!found) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: holds a %s (%s); a folder of a %s, or a new one, is allowed", path, holder,
                    table, wanted);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

int eab_write_all(int fd, const void *bytes, size_t size, size_t *written) {
    const char *at = bytes;
    size_t left = size;
    while (left > 0) {
        const ssize_t got = write(fd, at, left);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) { /* another program made this pipe or terminal non-blocking */
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
            continue;
        }
        if (got <= 0) {
            if (got == 0) errno = ENOSPC;
            break;
        }
        at += got;
        left -= (size_t)got;
    }
    if (written) *written = size - left;
    return left ? -1 : 0;
}

int eab_sync(int fd) {
    int status;
    do status = fsync(fd);
    while (status < 0 && errno == EINTR);
    return status < 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS ? -1 : 0;
}

void eab_replace_abandon(eab_replacement *replacement) {
    if (replacement->fd >= 0) close(replacement->fd);
    if (replacement->temporary) unlink(replacement->temporary);
    replacement->fd = -1;
    g_clear_pointer(&replacement->temporary, g_free);
    g_clear_pointer(&replacement->path, g_free);
}

/* Any worker may come here: strerror_r, as ThreadSanitizer does not see the lock that g_strerror takes. */
static int failed(eab_replacement *replacement) {
    char reason[256] = "";
    if (strerror_r(errno, reason, sizeof reason)) snprintf(reason, sizeof reason, "error %d", errno);
    eab_fail(EAB_IO, "%s: cannot be written: %s", replacement->path, reason);
    eab_replace_abandon(replacement);
    return EAB_IO;
}

int eab_replace_begin(const char *path, eab_replacement *replacement) {
    *replacement = (eab_replacement){
        .fd = -1, .path = g_strdup(path), .temporary = g_strconcat(path, EAB_REPLACEMENT_ENDING, NULL)};
    unlink(replacement->temporary);
    replacement->fd = open(replacement->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return replacement->fd < 0 ? failed(replacement) : EAB_OK;
}

int eab_replace_write(eab_replacement *replacement, const void *bytes, size_t size) {
    return eab_write_all(replacement->fd, bytes, size, NULL) ? failed(replacement) : EAB_OK;
}

/* 0, or -1 with errno. */
static int sync_folder_of(const char *path) {
    char *folder = g_path_get_dirname(path);
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_free(folder);
    if (fd < 0) return 0;
    const int synced = eab_sync(fd), reason = errno;
    close(fd);
    errno = reason;
    return synced;
}

int eab_replace_commit(eab_replacement *replacement, bool durable) {
    if (durable && eab_sync(replacement->fd)) return failed(replacement);
    const int closed = close(replacement->fd);
    replacement->fd = -1;
    if (closed && errno != EINTR) return failed(replacement);
    if (rename(replacement->temporary, replacement->path)) return failed(replacement);
    g_clear_pointer(&replacement->temporary, g_free); /* it has the file's name now */
    if (durable && sync_folder_of(replacement->path)) return failed(replacement);
    eab_replace_abandon(replacement);
    return EAB_OK;
}

int eab_replace_file(const char *path, const char *text, size_t size, bool durable) {
    eab_replacement replacement;
    EAB_TRY(eab_replace_begin(path, &replacement));
    EAB_TRY(eab_replace_write(&replacement, text, size));
    return eab_replace_commit(&replacement, durable);
}

/* In pieces, as a file may be larger than memory. */
static int copy_pieces(FILE *file, const char *old, eab_replacement *copy) {
    char piece[1 << 16];
    size_t got;
    while ((got = fread(piece, 1, sizeof piece, file))) EAB_TRY(eab_replace_write(copy, piece, got));
    if (!ferror(file)) return eab_replace_commit(copy, true);
    eab_replace_abandon(copy);
    return eab_fail(EAB_IO, "%s: cannot be read: %s", old, g_strerror(errno));
}

int eab_file_link(const char *old, const char *new) {
    eab_replacement copy;
    if (!link(old, new)) return EAB_OK;
    FILE *file = fopen(old, "rbe");
    if (!file) return eab_fail(EAB_IO, "%s: cannot be read: %s", old, g_strerror(errno));
    int status = eab_replace_begin(new, &copy);
    if (!status) status = copy_pieces(file, old, &copy);
    fclose(file);
    return status;
}
