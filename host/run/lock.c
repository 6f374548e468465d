#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/replace.h"
#include "base/system.h"
#include "kernels/status.h"
#include "small_file.h"

enum { MAX_BYTES = 400 };

static void close_lock(eab_run_lock *lock) {
    if (lock->fd >= 0) close(lock->fd);
    if (lock->folder >= 0) close(lock->folder);
    lock->fd = lock->folder = -1;
    g_clear_pointer(&lock->path, g_free);
}

static int unusable(eab_run_lock *lock, const char *folder) {
    eab_fail(EAB_IO, "%s: cannot be locked: %s; a folder that can be written is needed", folder, g_strerror(errno));
    close_lock(lock);
    return EAB_IO;
}

/* The file may have any content. */
bool eab_run_lock_read(const char *folder, eab_run_lock_holder *holder) {
    char *path = g_build_filename(folder, ".lock", NULL), *text = NULL;
    bool found = false;
    *holder = (eab_run_lock_holder){.host = "?", .started = "?"};
    if (eab_small_file_read(path, MAX_BYTES, "", &text) == EAB_OK && text) {
        char *line = eab_line_clean(text), **words = g_strsplit(line, " ", 3);
        found = g_strv_length(words) == 3 && g_ascii_strtoll(words[0], NULL, 10) > 0;
        if (found) {
            holder->process = g_ascii_strtoll(words[0], NULL, 10);
            g_strlcpy(holder->host, words[1], sizeof holder->host);
            g_strlcpy(holder->started, words[2], sizeof holder->started);
        }
        g_strfreev(words);
        g_free(line);
    }
    g_free(text);
    g_free(path);
    return found;
}

static int in_use(eab_run_lock *lock, const char *folder) {
    eab_run_lock_holder holder;
    close_lock(lock);
    if (!eab_run_lock_read(folder, &holder))
        return eab_fail(EAB_BAD_INPUT, "%s is in use by another process; wait for it or choose another --out", folder);
    return eab_fail(EAB_BAD_INPUT, "%s is in use by process %lld on %s since %s; wait for it or choose another --out",
                    folder, (long long)holder.process, holder.host, holder.started);
}

int eab_run_lock_take(const char *folder, eab_run_lock *lock) {
    *lock = (eab_run_lock){.fd = -1, .folder = -1, .path = g_build_filename(folder, ".lock", NULL)};
    lock->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock->folder >= 0 && flock(lock->folder, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) return in_use(lock, folder);
        close(lock->folder); /* NFS locks only what is open for writing */
        lock->folder = -1;
    }
    for (;;) {
        lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (lock->fd < 0) return unusable(lock, folder);
        if (flock(lock->fd, LOCK_EX | LOCK_NB))
            return errno == EWOULDBLOCK ? in_use(lock, folder) : unusable(lock, folder);

        /* The holder removes the file when it releases: what is locked here may have lost its name by now. */
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
    unlink(lock->path); /* while it is held, so that no newer file is removed */
    close_lock(lock);
}
