#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/files.h"
#include "base/system.h"
#include "kernels/status.h"

enum { MAX_BYTES = 400 };

static char *path_of(const char *folder) { return g_build_filename(folder, ".lock", NULL); }

/* The file may have any content. */
bool eab_run_lock_read(const char *folder, eab_run_lock_holder *holder) {
    char *path = path_of(folder), *text = NULL;
    *holder = (eab_run_lock_holder){.host = "?", .started = "?"};
    if (eab_small_file_read(path, MAX_BYTES, "", &text) == EAB_OK && text) {
        char *line = eab_line_clean(text), **words = g_strsplit(line, " ", 3);
        const int64_t process = g_strv_length(words) == 3 ? g_ascii_strtoll(words[0], NULL, 10) : 0;
        if (process > 0) {
            holder->process = process;
            g_strlcpy(holder->host, words[1], sizeof holder->host);
            g_strlcpy(holder->started, words[2], sizeof holder->started);
        }
        g_strfreev(words);
        g_free(line);
    }
    g_free(text);
    g_free(path);
    return holder->process > 0;
}

static int make_folder(const char *folder, bool *created) {
    *created = !g_file_test(folder, G_FILE_TEST_EXISTS);
    if (!*created && !g_file_test(folder, G_FILE_TEST_IS_DIR))
        return eab_fail(EAB_BAD_INPUT, "%s: not a folder; a folder, or a name that is free, is allowed", folder);
    if (*created && g_mkdir_with_parents(folder, 0777))
        return eab_fail(EAB_IO, "%s: cannot be created: %s", folder, g_strerror(errno));
    return EAB_OK;
}

/* Opens and locks the file: its descriptor, or -1 with errno. */
static int lock_file(const char *path) {
    for (;;) {
        const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (fd < 0) return -1;
        struct stat locked, named;
        const int failed = flock(fd, LOCK_EX | LOCK_NB), reason = errno;
        /* The last holder may have removed the file after it was opened here. */
        if (!failed && fstat(fd, &locked) == 0 && stat(path, &named) == 0 && locked.st_dev == named.st_dev &&
            locked.st_ino == named.st_ino)
            return fd;
        close(fd);
        errno = reason;
        if (failed) return -1;
    }
}

static int write_holder(int fd) {
    char host[256] = "?", now[EAB_TIME_SIZE];
    gethostname(host, sizeof host - 1);
    eab_time_print(now);
    char *text = g_strdup_printf("%ld %s %s\n", (long)getpid(), host, now);
    const int failed = ftruncate(fd, 0) || eab_write_all(fd, text, strlen(text), NULL);
    g_free(text);
    return failed ? -1 : 0;
}

/* 0, or -1 with errno. */
static int take(eab_run_lock *lock) {
    lock->folder_fd = open(lock->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Other errors are ignored: NFS locks only files that are open for writing. */
    if (lock->folder_fd >= 0 && flock(lock->folder_fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) return -1;
    char *path = path_of(lock->folder);
    lock->fd = lock_file(path);
    g_free(path);
    return lock->fd < 0 ? -1 : write_holder(lock->fd);
}

int eab_run_lock_take(const char *folder, eab_run_lock *lock) {
    eab_run_lock_holder holder;
    bool created;
    EAB_TRY(make_folder(folder, &created));
    *lock = (eab_run_lock){.folder = g_strdup(folder), .fd = -1, .folder_fd = -1, .created = created};
    if (!take(lock)) return EAB_OK;
    const int reason = errno;
    eab_run_lock_release(lock);
    if (reason != EWOULDBLOCK)
        return eab_fail(EAB_IO, "%s: cannot be locked: %s; a folder that can be written is needed", folder,
                        g_strerror(reason));
    if (!eab_run_lock_read(folder, &holder))
        return eab_fail(EAB_BAD_INPUT, "%s is in use by another process; wait for it or choose another --out", folder);
    return eab_fail(EAB_BAD_INPUT, "%s is in use by process %lld on %s since %s; wait for it or choose another --out",
                    folder, (long long)holder.process, holder.host, holder.started);
}

void eab_run_lock_release(eab_run_lock *lock) {
    if (!lock->folder) return;
    char *path = path_of(lock->folder);
    if (lock->fd >= 0) unlink(path); /* while it is locked, so that no newer file is removed */
    if (lock->fd >= 0) close(lock->fd);
    if (lock->folder_fd >= 0) close(lock->folder_fd);
    if (lock->created) rmdir(lock->folder); /* fails if anything is in it */
    g_free(path);
    g_clear_pointer(&lock->folder, g_free);
}
