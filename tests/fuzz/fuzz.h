/* What the fuzz targets share. A target is one file, fuzz_NAME.c, that defines LLVMFuzzerTestOneInput; it is linked
 * with libFuzzer (preset fuzz), or with replay.c, which runs the corpus as an ordinary test. It reads memory, not
 * files, and what it expects of every input it says by fuzz_expect(). */
#ifndef EAB_TESTS_FUZZ_H
#define EAB_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry points; the second one is called once before the first input, and may be left out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Ends the process with `what` where the condition does not hold. */
void fuzz_expect(bool condition, const char *what);

/* Expects `text` to be one line of printable UTF-8 that is not empty: what every error is told by. */
void fuzz_expect_line(const char *text);

/* The same of the last error, and of its status: a mistake in the input is EAB_BAD_INPUT and nothing else. */
void fuzz_expect_refusal(int status);

/* The input as a NUL-terminated string in memory of just that size; free(). */
char *fuzz_text(const uint8_t *data, size_t size);

/* A file in memory, and its path for those who open by name. */
typedef struct {
    int fd;
    char path[32];
} fuzz_file;
void fuzz_file_open(fuzz_file *file);
void fuzz_file_set(const fuzz_file *file, const uint8_t *data, size_t size);

#endif
