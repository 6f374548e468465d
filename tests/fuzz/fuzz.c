#define _GNU_SOURCE /* memfd_create */
#include "fuzz.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kernels/status.h"

void fuzz_expect(bool condition, const char *what) {
    if (condition) return;
    dprintf(STDERR_FILENO, "fuzz: expected: %s\n", what); /* the target may have redirected stderr */
    abort();
}

void fuzz_expect_line(const char *text) {
    fuzz_expect(*text, "a line, not nothing");
    fuzz_expect(g_utf8_validate(text, -1, NULL), "a line of valid UTF-8");
    for (const char *c = text; *c; c = g_utf8_next_char(c)) {
        const gunichar character = g_utf8_get_char(c);
        fuzz_expect(character >= 0x20 && (character < 0x7F || character >= 0xA0), "a line without control characters");
    }
}

void fuzz_expect_refusal(int status) {
    fuzz_expect(status == EAB_BAD_INPUT, "EAB_BAD_INPUT for bad input");
    fuzz_expect_line(eab_last_error());
}

char *fuzz_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    fuzz_expect(text, "memory");
    if (size) memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

void fuzz_file_open(fuzz_file *file) {
    file->fd = memfd_create("eabench-fuzz", 0);
    fuzz_expect(file->fd >= 0, "a file in memory");
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
}

void fuzz_file_set(const fuzz_file *file, const uint8_t *data, size_t size) {
    const bool written = ftruncate(file->fd, 0) == 0 && pwrite(file->fd, data, size, 0) == (ssize_t)size;
    fuzz_expect(written, "the input in the file in memory");
}
