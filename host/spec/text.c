/* A spec file's bytes, refused before they are parsed if they cannot be a spec. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/suggest.h"
#include "file.h"

static const char *const allowed = "a readable file of INI text, UTF-8, at most 1 MiB";

static int refuse(const char *path, const char *problem) {
    char shown[300];
    return eab_fail(EAB_BAD_INPUT, "%s: %s; allowed: %s", eab_excerpt(path, 250, shown, sizeof shown), problem,
                    allowed);
}

static int refuse_at(const char *path, const char *text, size_t place, const char *problem) {
    size_t line = 1;
    for (size_t i = 0; i < place; i++) line += text[i] == '\n';
    char where[64];
    snprintf(where, sizeof where, "%s on line %zu", problem, line);
    return refuse(path, where);
}

/* One byte more than allowed is read, so that a file that grows or hides its size (/proc) shows. */
static int read_all(const char *path, int file, char *text, size_t size, size_t *length) {
    *length = 0;
    while (*length < size) {
        const ssize_t got = read(file, text + *length, size - *length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse(path, g_strerror(errno));
        if (got == 0) break;
        *length += (size_t)got;
    }
    return EAB_OK;
}

int eab_spec_text_check(const char *path, char *text, size_t length) {
    static const char mark[] = "\xEF\xBB\xBF";
    if (length == 0) return refuse(path, "empty file");
    if (length > EAB_SPEC_MAX_BYTES) return refuse(path, "larger than 1 MiB");
    const char *nul = memchr(text, '\0', length), *bad;
    if (nul) return refuse_at(path, text, (size_t)(nul - text), "a NUL byte");
    if (!g_utf8_validate(text, (gssize)length, &bad))
        return refuse_at(path, text, (size_t)(bad - text), "bytes that are not UTF-8");
    text[length] = '\0';
    if (g_str_has_prefix(text, mark)) memmove(text, text + strlen(mark), length - strlen(mark) + 1);
    return EAB_OK;
}

int eab_spec_file_read(const char *path, char **text) {
    *text = NULL;
    /* O_NONBLOCK: opening a pipe that nobody writes to must not hang. */
    const int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (file < 0) return refuse(path, g_strerror(errno));

    struct stat info;
    size_t length = 0;
    char *bytes = g_malloc((size_t)EAB_SPEC_MAX_BYTES + 2);
    int status = EAB_OK;
    if (fstat(file, &info)) status = refuse(path, g_strerror(errno));
    else if (S_ISDIR(info.st_mode)) status = refuse(path, "a directory");
    else if (!S_ISREG(info.st_mode)) status = refuse(path, "not a regular file");
    else status = read_all(path, file, bytes, (size_t)EAB_SPEC_MAX_BYTES + 1, &length);
    close(file);

    if (!status) status = eab_spec_text_check(path, bytes, length);
    if (status) g_free(bytes);
    else *text = bytes;
    return status;
}
