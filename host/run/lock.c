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
#include "base/files.h"
#include "base/system.h"
#include "kernels/status.h"

enum { MAX_BYTES = 400 };

static char *path_of(const char *folder) { return g_build_filename(folder, ".lock", NULL); }

static void close_lock(eab_run_lock *lock) {
    if (lock->fd >= 0) close(lock->fd);
    if (lock->folder_fd >= 0) close(lock->folder_fd);
    if (lock->created) rmdir(lock->folder); /* fails if anything is in it */
    g_free(lock->folder);
    *lock = (eab_run_lock){.fd = -1, .folder_fd = -1};
}

static int unusable(eab_run_lock *lock) {
    eab_fail(EAB_IO, "%s: cannot be locked: %s; a folder that can be written is needed", lock->folder,
             g_strerror(errno));
    close_lock(lock);
    return EAB_IO;
}

/* The file may have any content. */
bool eab_run_lock_read(const char *folder, eab_run_lock_holder *holder) {
    char *path = path_of(folder), *text = NULL;
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

static int in_use(eab_run_lock *lock) {
    eab_run_lock_holder holder;
    const bool known = eab_run_lock_read(lock->folder, &holder);
    if (known)
        eab_fail(EAB_BAD_INPUT, "%s is in use by process %lld on %s since %s; wait for it or choose another --out",
                 lock->folder, (long long)holder.process, holder.host, holder.started);
    else eab_fail(EAB_BAD_INPUT, "%s is in use by another process; wait for it or choose another --out", lock->folder);
    close_lock(lock);
    return EAB_BAD_INPUT;
}

static int make_folder(const char *folder, bool *created) {
    *created = !g_file_test(folder, G_FILE_TEST_EXISTS);
    if (!*created && !g_file_test(folder, G_FILE_TEST_IS_DIR))
        return eab_fail(EAB_BAD_INPUT, "%s: not a folder; a folder, or a name that is free, is allowed", folder);
    if (*created && g_mkdir_with_parents(folder, 0777))
        return eab_fail(EAB_IO, "%s: cannot be created: %s", folder, g_strerror(errno));
    return EAB_OK;
}

/* Opens and locks the file; 0, or -1 with errno. */
static int lock_file(const char *path, int *fd) {
    for (;;) {
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB)) return -1;
        /* The holder removes the file when it releases: what is locked here may have lost its name by now. */
        struct stat held, named;
        if (fstat(*fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
            held.st_ino == named.st_ino)
            return 0;
        close(*fd);
    }
}

static int write_holder(int fd) {
    char host[256] = "?", now[32];
    gethostname(host, sizeof host - 1);
    eab_time_print(now, sizeof now);
    char *text = g_strdup_printf("%ld %s %s\n", (long)getpid(), host, now);
    const int failed = ftruncate(fd, 0) || eab_write_all(fd, text, strlen(text), NULL);
    g_free(text);
    return failed ? -1 : 0;
}

int eab_run_lock_take(const char *folder, eab_run_lock *lock) {
    bool created;
    *lock = (eab_run_lock){.fd = -1, .folder_fd = -1};
    EAB_TRY(make_folder(folder, &created));
    lock->folder = g_strdup(folder);
    lock->created = created;
    lock->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock->folder_fd >= 0 && flock(lock->folder_fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) return in_use(lock);
        close(lock->folder_fd); /* NFS locks only what is open for writing */
        lock->folder_fd = -1;
    }
    char *path = path_of(folder);
    int failed = lock_file(path, &lock->fd);
    const bool busy = failed && errno == EWOULDBLOCK;
    if (!failed && (failed = write_holder(lock->fd))) {
        const int reason = errno;
        unlink(path);
        errno = reason;
    }
    g_free(path);
    if (busy) return in_use(lock);
    return failed ? unusable(lock) : EAB_OK;
}

void eab_run_lock_release(eab_run_lock *lock) {
    if (lock->fd < 0) return;
    char *path = path_of(lock->folder);
    unlink(path); /* while it is held, so that no newer file is removed */
    g_free(path);
    close_lock(lock);
}
