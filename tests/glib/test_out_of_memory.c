/* Of host/glib_subset alone: where GLib aborts, it ends with a line and an exit code. */
#define _GNU_SOURCE /* dup2, fork */
#include <criterion/criterion.h>
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef EAB_GLIB_SUBSET
/* Runs it in a process of its own and reads what that says on standard error. */
static void expect_end(void (*run)(void), const char *line, const char *what) {
    int ends[2], status;
    char text[200] = "";
    cr_assert_eq(pipe(ends), 0);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        run();
        _exit(0);
    }
    close(ends[1]);
    for (size_t used = 0; used < sizeof text - 1;) {
        const ssize_t got = read(ends[0], text + used, sizeof text - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
    }
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: status %x", what, (unsigned)status);
    cr_expect_eq(strncmp(text, line, strlen(line)), 0, "%s: %s", what, text);
    cr_expect_eq(strchr(text, '\n'), text + strlen(text) - 1, "%s: %s", what, text);
}

static void ask_for_more_than_counts(void) { g_free(g_malloc_n(SIZE_MAX / 8 + 2, 8)); }
static void prepend_with_overflow(void) {
    GString string = {g_strdup(""), SIZE_MAX - 1, SIZE_MAX};
    g_string_append(&string, "y");
}
static void overfill(void) {
    GArray *array = g_array_new(FALSE, FALSE, 1);
    array->len = UINT32_MAX;
    g_array_append_vals(array, "x", 1);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* whose malloc ends the program itself */
static void ask_for_too_much(void) { g_free(g_malloc(SIZE_MAX / 2)); }
static void ask_for_zeros(void) { g_free(g_malloc0(SIZE_MAX / 2)); }
static void ask_for_more_elements(void) { g_free(g_new0(gint64, SIZE_MAX / 4)); }
static void append_too_much(void) { g_string_append_len(g_string_new("x"), "y", (gssize)(SIZE_MAX / 8)); }

Test(memory, ends_with_a_line_where_malloc_fails) {
    const char *line = "eabench: out of memory: no ";
    expect_end(ask_for_too_much, line, "malloc");
    expect_end(ask_for_zeros, line, "malloc0");
    expect_end(ask_for_more_elements, line, "new0");
    expect_end(append_too_much, line, "append");
}
#endif

Test(memory, ends_with_a_line) {
    const char *line = "eabench: out of memory: no ";
    expect_end(ask_for_more_than_counts, line, "malloc_n");
    expect_end(prepend_with_overflow, line, "overflow");
    expect_end(overfill, "eabench: an array of more than 4294967295 elements", "array");
}
#else
Test(memory, ends_with_a_line) { cr_skip_test("GLib aborts instead"); }
#endif
