/* The lines on stderr. Criterion runs each test in a separate process. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/base/log.h"
#include "host/base/system.h"

static FILE *written;

/* Lines go into a file from now on. */
static void capture(void) {
    written = tmpfile();
    cr_assert_not_null(written);
    cr_assert_geq(dup2(fileno(written), STDERR_FILENO), 0);
}

/* What was written, with each time of day as T. */
static char *take(void) {
    static char text[8192];
    lseek(fileno(written), 0, SEEK_SET);
    const ssize_t size = read(fileno(written), text, sizeof text - 1);
    cr_assert_geq(size, 0);
    text[size] = '\0';
    for (char *at = text; (at = strstr(at, "\"time\":\"")); at += 10) {
        char *end = strchr(at + 8, '"');
        cr_assert_eq(end - at - 8, EAB_TIME_SIZE - 1, "%s", at);
        memmove(at + 9, end, strlen(end) + 1);
        at[8] = 'T';
    }
    return text;
}

Test(log, plain_lines) {
    capture();
    eab_log_note("sweep", "%d cells", 3);
    eab_log_note(NULL, "as it is");
    eab_log_error("", "a\nb\x01");
    eab_log_live("1/3");
    eab_log_note("sweep", "x");
    eab_log_live(NULL);
    eab_log_from_handler("interrupted again");
    cr_expect_str_eq(take(), "eabench sweep: 3 cells\nas it is\neabench: a b\n\r1/3\033[K\r\033[Keabench sweep: x\n"
                             "eabench: interrupted again\n");
}

Test(log, objects) {
    capture();
    eab_log_open();
    eab_log_use_json(true);
    eab_log_note("sweep", "to resume:\n  eabench \"x\"");
    eab_log_error("sweep", "it failed");
    g_warning("%s", "of a library");
    g_debug("nothing");
    GString *json = eab_log_begin_event("end");
    eab_log_end_event(json);
    eab_log_from_handler("interrupted again");
    cr_expect_str_eq(take(), "{\"event\":\"note\",\"time\":\"T\",\"text\":\"to resume:   eabench \\\"x\\\"\"}\n"
                             "{\"event\":\"error\",\"time\":\"T\",\"text\":\"it failed\"}\n"
                             "{\"event\":\"error\",\"time\":\"T\",\"text\":\"GLib: of a library\"}\n"
                             "{\"event\":\"end\",\"time\":\"T\"}\n"
                             "{\"event\":\"error\",\"time\":\"T\",\"text\":\"interrupted again\"}\n");
}

static void count_line(void *context, const char *text) {
    cr_expect_str_eq(text, "x");
    ++*(int *)context;
}

Test(log, redirected_lines_are_not_written) {
    int count = 0;
    capture();
    eab_log_redirect(count_line, &count);
    eab_log_note("sweep", "x");
    eab_log_error("sweep", "x");
    eab_log_from_handler("x");
    cr_expect_str_eq(take(), "");
    cr_expect_eq(count, 2);
    eab_log_redirect(NULL, NULL);
    eab_log_note(NULL, "y");
    cr_expect_str_eq(take(), "y\n");
}

enum { LINES = 2000 };

static gpointer write_lines(gpointer context) {
    for (int i = 0; i < LINES; i++) eab_log_note(NULL, "%s", (const char *)context);
    return NULL;
}

/* Lines of two threads through a pipe that is full most of the time and does not block. */
Test(log, lines_stay_whole) {
    int ends[2];
    char *const texts[] = {g_strnfill(5000, 'a'), g_strnfill(3000, 'b')};
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    GThread *const threads[] = {g_thread_new("a", write_lines, texts[0]), g_thread_new("b", write_lines, texts[1])};
    FILE *file = fdopen(ends[0], "r");
    int whole = 0;
    char line[8192];
    while (whole < 2 * LINES && fgets(line, sizeof line, file)) {
        const char *text = texts[line[0] == 'b'];
        const size_t size = strlen(text);
        cr_assert(strlen(line) == size + 1 && memcmp(line, text, size) == 0, "line %d", whole);
        whole++;
    }
    for (int i = 0; i < 2; i++) g_thread_join(threads[i]);
    for (int i = 0; i < 2; i++) g_free(texts[i]);
    fclose(file);
    cr_expect_eq(whole, 2 * LINES);
}

Test(log, time) {
    char text[EAB_TIME_SIZE], expected[2][EAB_TIME_SIZE];
    for (int i = 0; i < 2; i++) { /* the second may change in between */
        GDateTime *now = g_date_time_new_now_utc();
        char *shown = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");
        if (i == 0) eab_time_print(text);
        g_strlcpy(expected[i], shown, sizeof expected[i]);
        g_free(shown);
        g_date_time_unref(now);
    }
    cr_expect(strcmp(text, expected[0]) >= 0 && strcmp(text, expected[1]) <= 0, "%s, not %s", text, expected[0]);
}
