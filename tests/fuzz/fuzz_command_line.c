/* The command line, up to the work: words between newlines, the first of them the command. Whatever they are, the exit
 * code is one of the documented ones, and bad input is told by one line on standard error. The work (specs, devices,
 * training) is taken out by the linker (CMakeLists.txt): what stands in its place fails as a machine does where nothing
 * is to be had. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

int eabench_main(int argc, char **argv);
#define main eabench_main
#include "../../host/commands/main.c" /* NOLINT(bugprone-suspicious-include): its main is what is tested */
#undef main

enum { MAX_WORDS = 32 };

/* ---- in place of the work ------------------------------------------------------------------------------------ */

static bool worked; /* the command line was taken */

static int no_device(void) {
    worked = true;
    return eab_fail(EAB_NO_DEVICE, "no device");
}

/* The linker's names for what stands in for a function. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
int __wrap_eab_plan_load(void);
int __wrap_eab_merge(void);
int __wrap_eab_bench_plan_make(void);
int __wrap_eab_device_open(void);
int __wrap_eab_device_open_backend(void);
int __wrap_eab_plan_make(void);

int __wrap_eab_plan_load(void) { return no_device(); }
int __wrap_eab_merge(void) { return no_device(); }
int __wrap_eab_bench_plan_make(void) { return no_device(); }
int __wrap_eab_device_open(void) { return no_device(); }
int __wrap_eab_device_open_backend(void) { return no_device(); }
int __wrap_eab_plan_make(void) { return no_device(); }
/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- the target ---------------------------------------------------------------------------------------------- */

static FILE *said, *nowhere;
static char lines[1 << 14];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    said = fmemopen(lines, sizeof lines, "w");
    nowhere = fopen("/dev/null", "w");
    fuzz_expect(said && nowhere, "streams");
    return 0;
}

static void expect_code(int code) {
    const bool documented = code == EAB_EXIT_DONE || code == EAB_EXIT_BAD_INPUT || code == EAB_EXIT_ENVIRONMENT;
    fuzz_expect(documented, "an exit code that is documented");
    fuzz_expect(code != EAB_EXIT_ENVIRONMENT || worked, "3 only for what the machine lacks");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size), *words[MAX_WORDS + 2] = {"eabench"};
    int count = 1;
    for (char *word = text; word && count <= MAX_WORDS; count++) {
        words[count] = word;
        word = strchr(word, '\n');
        if (word) *word++ = '\0';
    }
    rewind(said);
    worked = false;
    FILE *const out = stdout, *const err = stderr;
    stdout = nowhere;
    stderr = said;
    const int code = run(count, words);
    fflush(stdout);
    fflush(stderr);
    const long length = ftell(said);
    stdout = out;
    stderr = err;

    expect_code(code);
    fuzz_expect(length >= 0 && (size_t)length < sizeof lines, "few words on standard error");
    if (code == EAB_EXIT_BAD_INPUT) {
        fuzz_expect(length > 1 && lines[length - 1] == '\n', "a whole line for bad input");
        lines[length - 1] = '\0';
        fuzz_expect_line(lines);
    }
    free(text);
    return 0;
}
