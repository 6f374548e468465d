/* Preloaded into eabench by faults.py: injects a fault into file operations in one folder. The environment sets it:
 *
 *   EAB_FAULT_FOLDER  the folder; operations elsewhere are unchanged
 *   EAB_FAULT         kill-write, kill-sync, kill-rename, full, write-error, sync-error, rename-error, forbidden;
 *                     anything else: no fault
 *   EAB_FAULT_AT      when, counted from 0: at this byte of all bytes written there (full, write-error, kill-write,
 *                     forbidden), or at this fsync or rename
 *   EAB_FAULT_COUNTS  a file that gets the totals "bytes fsyncs renames" when the process ends
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_llong bytes, syncs, renames;

static int fault_is(const char *name) {
    const char *fault = getenv("EAB_FAULT");
    return fault && strcmp(fault, name) == 0;
}

static long long fault_at(void) {
    const char *text = getenv("EAB_FAULT_AT");
    return text ? strtoll(text, NULL, 10) : 0;
}

static int is_in_folder(const char *path) {
    const char *folder = getenv("EAB_FAULT_FOLDER");
    const size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && path[length] == '/';
}

static int is_open_in_folder(int fd) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(name, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = '\0';
    return is_in_folder(path) && !strstr(path, "/.lock");
}

static int refuse(int error) {
    errno = error;
    return -1;
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void *from, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "write");
    if (!size || !is_open_in_folder(fd)) return real(fd, from, size);
    const long long before = atomic_fetch_add(&bytes, (long long)size), at = fault_at(), room = at - before;
    if (room >= (long long)size) return real(fd, from, size);
    if (fault_is("kill-write")) {
        if (room > 0 && real(fd, from, (size_t)room) < 0) return -1;
        raise(SIGKILL);
    }
    if (fault_is("write-error")) return refuse(EIO);
    if (fault_is("full")) return room > 0 ? real(fd, from, (size_t)room) : refuse(ENOSPC);
    return real(fd, from, size);
}

__attribute__((visibility("default"))) int fsync(int fd) {
    static int (*real)(int);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    if (!is_open_in_folder(fd)) return real(fd);
    const long long number = atomic_fetch_add(&syncs, 1);
    if (number == fault_at() && fault_is("kill-sync")) raise(SIGKILL);
    if (number >= fault_at() && fault_is("sync-error")) return refuse(EIO);
    return real(fd);
}

__attribute__((visibility("default"))) int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "rename");
    if (!is_in_folder(to)) return real(from, to);
    const long long number = atomic_fetch_add(&renames, 1);
    if (number == fault_at() && fault_is("kill-rename")) {
        if (number % 2 && real(from, to)) return -1; /* killed before or after the rename */
        raise(SIGKILL);
    }
    if (number >= fault_at() && fault_is("rename-error")) return refuse(EACCES);
    return real(from, to);
}

__attribute__((visibility("default"))) int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "open");
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    const int writing = (flags & O_ACCMODE) != O_RDONLY;
    if (writing && fault_is("forbidden") && atomic_load(&bytes) >= fault_at() && is_in_folder(path))
        return refuse(EACCES);
    return real(path, flags, mode);
}

__attribute__((destructor)) static void write_counts(void) {
    const char *path = getenv("EAB_FAULT_COUNTS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%lld %lld %lld\n", atomic_load(&bytes), atomic_load(&syncs), atomic_load(&renames));
    fclose(file);
}
