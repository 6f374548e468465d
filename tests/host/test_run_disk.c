/* The run's folder where it cannot be written, and on a disk that fills up. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tables_fixture.h"

Test(run_disk, places_that_cannot_be_written) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    fixture_write(path, "file", "x", 1);
    char *file = g_build_filename(path, "file", NULL), *below = g_build_filename(file, "run", NULL);
    eab_run_folder *folder;
    cr_expect_eq(eab_run_folder_open(file, &plan, &fixture_settings, &folder), EAB_BAD_INPUT);
    cr_expect_not_null(strstr(eab_last_error(), "not a folder"));
    cr_expect_eq(eab_run_folder_open(below, &plan, &fixture_settings, &folder), EAB_IO);
    cr_expect_not_null(strstr(eab_last_error(), "cannot be created"));
    cr_expect_eq(eab_run_folder_open("/proc/eabench/run", &plan, &fixture_settings, &folder), EAB_IO);
    cr_expect_eq(eab_run_folder_open("/proc/self", &plan, &fixture_settings, &folder), EAB_IO, "%s", eab_last_error());
    g_free(below);
    g_free(file);
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* The disk fills up while rows are appended: the tables have whole rows only, later calls fail, and a resume completes
 * the run. */
static void fill_and_resume(const char *path, const eab_plan *plan, void (*limit)(const char *, bool),
                            const char *reason) {
    char *whole = fixture_folder();
    GString *final[FIXTURE_TABLES];
    fixture_complete(whole, plan);
    fixture_read_tables(whole, final);
    eab_run_folder *folder = fixture_open(path, plan);
    limit(path, true);
    int status = fixture_append_missing(folder, plan);
    cr_expect_eq(status, EAB_IO);
    cr_expect_not_null(strstr(eab_last_error(), reason), "%s", eab_last_error());
    cr_expect_eq(fixture_append_missing(folder, plan), EAB_IO, "the failure is final");
    cr_expect_eq(eab_run_folder_close(folder), EAB_IO);
    for (int table = 0; table < FIXTURE_TABLES; table++) {
        GString *text = fixture_read(path, fixture_table_name(table));
        cr_expect(text->len && text->str[text->len - 1] == '\n', "%s has a torn row", fixture_table_name(table));
        g_string_free(text, TRUE);
    }
    limit(path, false);
    fixture_complete(path, plan);
    fixture_expect_tables(path, final, "after the disk was full");
    fixture_free_tables(final);
    fixture_remove(whole);
}

/* With RLIMIT_FSIZE set and SIGXFSZ ignored, write(2) writes the row that crosses the limit only in part; the next one
 * fails. */
static void limit_file_size(const char *path, bool on) {
    (void)path;
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = on ? 1100 : limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(run_disk, file_size_limit) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    fill_and_resume(path, &plan, limit_file_size, "File too large");
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* Fills a file system of a few pages; skipped where none can be mounted. */
static void fill_file_system(const char *path, bool on) {
    char *filler = g_build_filename(path, "filler", NULL);
    if (on) {
        char page[4096] = {0};
        const int fd = open(filler, O_WRONLY | O_CREAT, 0600);
        while (write(fd, page, sizeof page) == (ssize_t)sizeof page) {
        }
        close(fd);
    } else {
        unlink(filler);
    }
    g_free(filler);
}

Test(run_disk, full_disk) {
    char *path = fixture_folder();
    if (mount("tmpfs", path, "tmpfs", 0, "size=192k")) {
        fixture_remove(path);
        cr_skip_test("no tmpfs can be mounted here");
    }
    eab_plan plan = fixture_plan("[task recurrence]\nbasis = 2:9\n[model]\nd_model = 8\nheads = 2\n"
                                 "[train]\nmechanism = dpa, ea\nsteps = 40\n");
    fill_and_resume(path, &plan, fill_file_system, "No space left on device");

    fill_file_system(path, true); /* full before the sweep begins */
    GString *before[FIXTURE_TABLES];
    fixture_read_tables(path, before);
    eab_plan grown = fixture_plan("[task recurrence]\nbasis = 2:10\n[model]\nd_model = 8\nheads = 2\n"
                                  "[train]\nmechanism = dpa, ea\nsteps = 40\n");
    eab_run_folder *folder;
    cr_expect_eq(eab_run_folder_open(path, &grown, &fixture_settings, &folder), EAB_IO);
    cr_expect_not_null(strstr(eab_last_error(), "No space left on device"), "%s", eab_last_error());
    fixture_expect_tables(path, before, "full from the start");
    fixture_free_tables(before);
    cr_expect_eq(umount2(path, MNT_DETACH), 0);
    fixture_remove(path);
    eab_plan_free(&grown);
    eab_plan_free(&plan);
}
