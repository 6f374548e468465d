/* The command line: words separated by newlines, the first of them the command. The exit code must be a documented one,
 * and bad input must give one line on stderr. The linker (CMakeLists.txt) replaces the functions that do the work
 * (specs, devices, training) by stubs that fail as without a device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

int eabench_main(int argc, char **argv);
#define main eabench_main
#include "../../host/commands/main.c" /* NOLINT(bugprone-suspicious-include): its main is what is tested */
#undef main

enum { MAX_WORDS = 32 };

/* ---- stubs ----------------------------------------------------------------------------------------------------- */

static bool worked; /* the command line was accepted and a stub called */

static int no_device(void) {
    worked = true;
    return eab_fail(EAB_NO_DEVICE, "no device");
}

/* The linker's names for the stubs. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
int __wrap_eab_plan_load(void);
int __wrap_eab_plan_load_manifest(void);
int __wrap_eab_merge(void);
int __wrap_eab_bench_plan_make(void);
int __wrap_eab_device_open(void);
int __wrap_eab_device_open_backend(void);
int __wrap_eab_plan_of_task(void);
int __wrap_eab_write_all(int fd, const void *bytes, size_t size, size_t *written);

int __wrap_eab_plan_load(void) { return no_device(); }
int __wrap_eab_plan_load_manifest(void) { return no_device(); }
int __wrap_eab_merge(void) { return no_device(); }
int __wrap_eab_bench_plan_make(void) { return no_device(); }
int __wrap_eab_device_open(void) { return no_device(); }
int __wrap_eab_device_open_backend(void) { return no_device(); }
int __wrap_eab_plan_of_task(void) { return no_device(); }

static FILE *messages, *nowhere;
static char lines[1 << 14];

/* host/base/log writes its lines by it. */
int __wrap_eab_write_all(int fd, const void *bytes, size_t size, size_t *written) {
    (void)fd;
    const size_t count = fwrite(bytes, 1, size, messages);
    if (written) *written = count;
    return count == size ? 0 : -1;
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- the target ---------------------------------------------------------------------------------------------- */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    messages = fmemopen(lines, sizeof lines, "w");
    nowhere = fopen("/dev/null", "w");
    fuzz_expect(messages && nowhere, "streams");
    return 0;
}

static void expect_code(int code) {
    const bool documented = code == EAB_EXIT_DONE || code == EAB_EXIT_BAD_INPUT || code == EAB_EXIT_ENVIRONMENT;
    fuzz_expect(documented, "a documented exit code");
    fuzz_expect(code != EAB_EXIT_ENVIRONMENT || worked, "exit code 3 only after the command line was accepted");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size), *words[MAX_WORDS + 2] = {"eabench"};
    int count = 1;
    for (char *word = text; word && count <= MAX_WORDS; count++) {
        words[count] = word;
        word = strchr(word, '\n');
        if (word) *word++ = '\0';
    }
    rewind(messages);
    worked = false;
    eab_log_use_json(false); /* as an earlier input may have asked for */
    FILE *const out = stdout, *const err = stderr;
    stdout = nowhere;
    stderr = messages;
    const int code = run(count, words);
    fflush(stdout);
    fflush(stderr);
    const long length = ftell(messages);
    stdout = out;
    stderr = err;

    expect_code(code);
    fuzz_expect(length >= 0 && (size_t)length < sizeof lines, "a short output on stderr");
    if (code == EAB_EXIT_BAD_INPUT) {
        fuzz_expect(length > 1 && lines[length - 1] == '\n', "a whole line for bad input");
        lines[length - 1] = '\0';
        fuzz_expect_line(lines);
    }
    free(text);
    return 0;
}
