#include "small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/status.h"

/* At most `size` bytes, as many as there are; -1 with errno. */
static ssize_t read_all(int fd, char *bytes, size_t size) {
    size_t used = 0;
    while (used < size) {
        const ssize_t got = read(fd, bytes + used, size - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        used += (size_t)got;
    }
    return (ssize_t)used;
}

static int unreadable(const char *path) { return eab_fail(EAB_IO, "%s: cannot be read: %s", path, g_strerror(errno)); }

int eab_small_file_read(const char *path, size_t most, const char *allowed, char **text) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat facts;
    *text = NULL;
    if (fd < 0) return errno == ENOENT ? EAB_OK : unreadable(path);
    if (fstat(fd, &facts) || !S_ISREG(facts.st_mode)) {
        close(fd);
        return eab_fail(EAB_BAD_INPUT, "%s: not a regular file; %s", path, allowed);
    }
    char *bytes = g_malloc(MIN(most, (size_t)facts.st_size) + 2);
    const ssize_t got = read_all(fd, bytes, MIN(most, (size_t)facts.st_size) + 1);
    int status = got < 0 ? unreadable(path) : EAB_OK;
    close(fd);
    if (!status && (size_t)got > most)
        status = eab_fail(EAB_BAD_INPUT, "%s: larger than %zu bytes; %s", path, most, allowed);
    if (!status && memchr(bytes, '\0', (size_t)got))
        status = eab_fail(EAB_BAD_INPUT, "%s: it holds NUL bytes; %s", path, allowed);
    if (status) {
        g_free(bytes);
        return status;
    }
    bytes[got] = '\0';
    *text = bytes;
    return EAB_OK;
}
