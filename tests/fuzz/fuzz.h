/* Helpers of the fuzz targets. A target is one file, fuzz_NAME.c, that defines LLVMFuzzerTestOneInput; it is linked
 * with libFuzzer (preset fuzz), or with replay.c, which runs the corpus as an ordinary test. It reads memory, not
 * files, and checks by fuzz_expect() what must hold for every input. */
#ifndef EAB_TESTS_FUZZ_H
#define EAB_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry points; the second one is optional and called once, before the first input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Prints `what` and aborts if the condition is false. */
void fuzz_expect(bool condition, const char *what);

/* Expects `text` to be one non-empty line of printable UTF-8, as every error message must be. */
void fuzz_expect_line(const char *text);

/* Expects the status EAB_BAD_INPUT, and such a line from eab_last_error(). */
void fuzz_expect_refusal(int status);

/* The input as a NUL-terminated string in an allocation of exactly that size; free(). */
char *fuzz_text(const uint8_t *data, size_t size);

/* A file in memory, and its path for functions that open a file by name. */
typedef struct {
    int fd;
    char path[32];
} fuzz_file;
void fuzz_file_open(fuzz_file *file);
void fuzz_file_set(const fuzz_file *file, const uint8_t *data, size_t size);

#endif
