#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/replace.h"
#include "base/system.h"
#include "kernels/status.h"

static void let_go(eab_run_lock *lock) {
    if (lock->fd >= 0) close(lock->fd);
    if (lock->folder >= 0) close(lock->folder);
    lock->fd = lock->folder = -1;
    g_clear_pointer(&lock->path, g_free);
}

static int unusable(eab_run_lock *lock, const char *folder) {
    eab_fail(EAB_IO, "%s: cannot be locked: %s; a folder that can be written is needed", folder, g_strerror(errno));
    let_go(lock);
    return EAB_IO;
}

/* The file may be of any content: it is shown cleaned and cut. */
static int in_use(eab_run_lock *lock, const char *folder) {
    char text[200] = "";
    const int fd = open(lock->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* it may have been removed */
    const ssize_t got = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, 0);
    if (fd >= 0) close(fd);
    text[got > 0 ? got : 0] = '\0';
    char *clean = eab_line_clean(text);
    char **words = g_strsplit(clean, " ", 3);
    if (g_strv_length(words) == 3)
        eab_fail(EAB_BAD_INPUT, "%s is in use by process %s on %s since %s; wait for it or choose another --out",
                 folder, words[0], words[1], words[2]);
    else eab_fail(EAB_BAD_INPUT, "%s is in use by another process; wait for it or choose another --out", folder);
    g_strfreev(words);
    g_free(clean);
    let_go(lock);
    return EAB_BAD_INPUT;
}

int eab_run_lock_take(const char *folder, eab_run_lock *lock) {
    *lock = (eab_run_lock){.fd = -1, .folder = -1, .path = g_build_filename(folder, ".lock", NULL)};
    lock->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock->folder >= 0 && flock(lock->folder, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) return in_use(lock, folder);
        close(lock->folder); /* such as by NFS, which locks for who can write only */
        lock->folder = -1;
    }
    for (;;) {
        lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (lock->fd < 0) return unusable(lock, folder);
        if (flock(lock->fd, LOCK_EX | LOCK_NB))
            return errno == EWOULDBLOCK ? in_use(lock, folder) : unusable(lock, folder);

        /* The holder removes the file as it goes: what was locked here may be a file without a name by now. */
        struct stat held, named;
        if (fstat(lock->fd, &held) == 0 && stat(lock->path, &named) == 0 && held.st_dev == named.st_dev &&
            held.st_ino == named.st_ino)
            break;
        close(lock->fd);
    }
    char host[256] = "?", now[32];
    gethostname(host, sizeof host - 1);
    eab_time_print(time(NULL), now, sizeof now);
    char *text = g_strdup_printf("%ld %s %s\n", (long)getpid(), host, now);
    const int written = ftruncate(lock->fd, 0) || eab_write_all(lock->fd, text, strlen(text), NULL);
    g_free(text);
    if (written) {
        const int reason = errno;
        unlink(lock->path);
        errno = reason;
        return unusable(lock, folder);
    }
    return EAB_OK;
}

void eab_run_lock_release(eab_run_lock *lock) {
    if (lock->fd < 0) return;
    unlink(lock->path); /* while it is still held, so that nobody's newer file is removed */
    let_go(lock);
}
