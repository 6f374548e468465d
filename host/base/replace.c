#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/status.h"

int eab_write_all(int fd, const void *bytes, size_t size, size_t *written) {
    const char *at = bytes;
    size_t left = size;
    while (left > 0) {
        const ssize_t got = write(fd, at, left);
        if (got < 0 && errno == EINTR) continue;
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

static char *temporary_name(const char *path) { return g_strconcat(path, ".new", NULL); }

void eab_replace_clean(const char *path) {
    char *temporary = temporary_name(path);
    unlink(temporary);
    g_free(temporary);
}

void eab_replace_abandon(eab_replacement *replacement) {
    if (replacement->fd >= 0) close(replacement->fd);
    if (replacement->temporary) unlink(replacement->temporary);
    replacement->fd = -1;
    g_clear_pointer(&replacement->temporary, g_free);
    g_clear_pointer(&replacement->path, g_free);
}

/* Any worker may come here. strerror_r, as ThreadSanitizer does not see the lock that g_strerror shares its texts
 * under. */
static int failed(eab_replacement *replacement) {
    char reason[256] = "";
    if (strerror_r(errno, reason, sizeof reason)) snprintf(reason, sizeof reason, "error %d", errno);
    eab_fail(EAB_IO, "%s: cannot be written: %s", replacement->path, reason);
    eab_replace_abandon(replacement);
    return EAB_IO;
}

int eab_replace_begin(const char *path, eab_replacement *replacement) {
    *replacement = (eab_replacement){.fd = -1, .path = g_strdup(path), .temporary = temporary_name(path)};
    unlink(replacement->temporary);
    replacement->fd = open(replacement->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return replacement->fd < 0 ? failed(replacement) : EAB_OK;
}

int eab_replace_write(eab_replacement *replacement, const void *bytes, size_t size) {
    return eab_write_all(replacement->fd, bytes, size, NULL) ? failed(replacement) : EAB_OK;
}

static int move_over(eab_replacement *replacement) {
    const int closed = close(replacement->fd);
    replacement->fd = -1;
    if (closed && errno != EINTR) return failed(replacement);
    if (rename(replacement->temporary, replacement->path)) return failed(replacement);
    g_clear_pointer(&replacement->temporary, g_free); /* it is the file now */
    return EAB_OK;
}

int eab_replace_commit_unsynced(eab_replacement *replacement) {
    EAB_TRY(move_over(replacement));
    eab_replace_abandon(replacement);
    return EAB_OK;
}

int eab_replace_commit(eab_replacement *replacement) {
    if (eab_sync(replacement->fd)) return failed(replacement);
    EAB_TRY(move_over(replacement));

    char *folder = g_path_get_dirname(replacement->path);
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_free(folder);
    if (fd >= 0) {
        const int synced = eab_sync(fd);
        const int reason = errno;
        close(fd);
        errno = reason;
        if (synced) return failed(replacement);
    }
    eab_replace_abandon(replacement);
    return EAB_OK;
}

int eab_replace_file(const char *path, const char *text, size_t size) {
    eab_replacement replacement;
    EAB_TRY(eab_replace_begin(path, &replacement));
    EAB_TRY(eab_replace_write(&replacement, text, size));
    return eab_replace_commit(&replacement);
}
