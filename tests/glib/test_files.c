#define _GNU_SOURCE /* nftw, mkdtemp */
#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/eabench-glib-XXXXXX";

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts;
    (void)kind;
    (void)place;
    return remove(path);
}

static void make_folder(void) { cr_assert_not_null(mkdtemp(folder)); }
static void remove_folder(void) { nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

static char *within(const char *name) { return g_build_filename(folder, name, NULL); }

static void write_bytes(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

Test(files, names) {
    static const struct {
        const char *a, *b, *c, *joined;
    } cases[] = {{"a", NULL, NULL, "a"},
                 {"a", "b", NULL, "a/b"},
                 {"a", "b", "c", "a/b/c"},
                 {"a/", "/b", NULL, "a/b"},
                 {"a///", "///b///", "c", "a/b/c"},
                 {"/", "b", NULL, "/b"},
                 {"", "b", NULL, "b"},
                 {"a", "", "c", "a/c"},
                 {"a", "b/", NULL, "a/b/"},
                 {"//a", "b", NULL, "//a/b"},
                 {"", "", NULL, ""},
                 {"a b", "\xC3\xA9", NULL, "a b/\xC3\xA9"},
                 {"a", ".", "..", "a/./.."},
                 {"/a", "/", NULL, "/a/"},
                 {"a/", "", NULL, "a/"},
                 {"a//b", "c", NULL, "a//b/c"},
                 {"a", "/", "c", "a/c"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *joined = g_build_filename(cases[i].a, cases[i].b, cases[i].c, NULL);
        cr_expect_str_eq(joined, cases[i].joined);
        g_free(joined);
    }
}

Test(files, folders_of_names) {
    static const char *const cases[][2] = {{"a", "."}, {"a/b", "a"},     {"/a", "/"},
                                           {"/", "/"}, {"a//b", "a"},    {"a/b/", "a/b"},
                                           {"", "."},  {"a/b//", "a/b"}, {"/a/b/c", "/a/b"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *got = g_path_get_dirname(cases[i][0]);
        cr_expect_str_eq(got, cases[i][1]);
        g_free(got);
    }
}

Test(files, last_parts_of_names) {
    static const char *const cases[][2] = {{"a", "a"},    {"a/b", "b"}, {"/a", "a"},  {"/", "/"},      {"a//b", "b"},
                                           {"a/b/", "b"}, {"", "."},    {"b//", "b"}, {"/a/b/c", "c"}, {"//", "/"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *got = g_path_get_basename(cases[i][0]);
        cr_expect_str_eq(got, cases[i][1]);
        g_free(got);
    }
}

Test(files, whole_names) {
    static const char *const cases[][2] = {{"/", "/"},        {"/a/./b/../c/", "/a/c"}, {"/../..", "/"},
                                           {"/a//b", "/a/b"}, {"/a/..", "/"},           {"/a/b/../../c", "/c"},
                                           {"x", "/proc/x"},  {".", "/proc"},           {"../y/.z", "/y/.z"},
                                           {"", "/proc"},     {"a/...", "/proc/a/..."}};
    cr_assert_eq(chdir("/proc"), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *got = g_canonicalize_filename(cases[i][0], NULL);
        cr_expect_str_eq(got, cases[i][1]);
        g_free(got);
    }
}

Test(files, names_in_a_folder, .init = make_folder, .fini = remove_folder) {
    char *paths[] = {within("one"), within("two"), within(".three")}, *link = within("link");
    const char *name;
    int found = 0;
    GError *error = NULL;
    GDir *listed = g_dir_open(folder, 0, NULL);
    cr_assert(listed && !g_dir_read_name(listed));
    g_dir_close(listed);
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) write_bytes(paths[i], "x", 1);
    listed = g_dir_open(folder, 0, &error);
    cr_assert(listed && !error);
    while ((name = g_dir_read_name(listed)))
        found += strcmp(name, "one") == 0      ? 1
                 : strcmp(name, "two") == 0    ? 10
                 : strcmp(name, ".three") == 0 ? 100
                                               : 1000;
    cr_expect_eq(found, 111);
    g_dir_close(listed);
    cr_expect_eq(symlink("one", link), 0);
    cr_expect(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    cr_expect_not(g_file_test(paths[0], G_FILE_TEST_IS_SYMLINK));
    cr_expect_null(g_dir_open(paths[0], 0, &error));
    cr_expect(g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOTDIR));
    g_clear_error(&error);
    cr_expect_null(g_dir_open("/proc/nowhere", 0, &error));
    cr_expect(g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT));
    cr_expect_not(g_error_matches(error, G_OPTION_ERROR, G_FILE_ERROR_NOENT));
    cr_expect_str_eq(error->message, "Error opening directory “/proc/nowhere”: No such file or directory");
    g_clear_error(&error);
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) g_free(paths[i]);
    g_free(link);
}

Test(files, folders, .init = make_folder, .fini = remove_folder) {
    char *deep = within("one/two//three/"), *file = within("file"), *below = within("file/below"), *one = within("one");
    cr_expect_eq(g_mkdir_with_parents(deep, 0777), 0);
    cr_expect(g_file_test(deep, G_FILE_TEST_IS_DIR));
    cr_expect_eq(g_mkdir_with_parents(deep, 0777), 0);
    cr_expect(g_file_test(one, G_FILE_TEST_EXISTS));
    write_bytes(file, "x", 1);
    cr_expect(g_file_test(file, G_FILE_TEST_EXISTS));
    cr_expect_not(g_file_test(file, G_FILE_TEST_IS_DIR));
    cr_expect(g_file_test(file, G_FILE_TEST_IS_REGULAR));
    cr_expect_not(g_file_test(one, G_FILE_TEST_IS_REGULAR));
    cr_expect_not(g_file_test("/dev/null", G_FILE_TEST_IS_REGULAR));
    cr_expect_not(g_file_test(below, G_FILE_TEST_EXISTS));
    cr_expect_eq(g_mkdir_with_parents(below, 0777), -1);
    cr_expect_eq(errno, ENOTDIR);
    cr_expect_eq(g_mkdir_with_parents(file, 0777), -1);
    cr_expect_eq(errno, ENOTDIR);
    cr_expect_eq(g_mkdir_with_parents("", 0777), -1);
    cr_expect_eq(g_mkdir_with_parents("/proc/nowhere/below", 0777), -1);
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(g_mkdir_with_parents("/", 0777), 0);
    g_free(deep);
    g_free(file);
    g_free(below);
    g_free(one);
}

Test(files, folders_of_the_current_one, .init = make_folder, .fini = remove_folder) {
    cr_assert_eq(chdir(folder), 0);
    cr_expect_eq(g_mkdir_with_parents("a/b", 0777), 0);
    cr_expect_eq(g_mkdir_with_parents("a/b/../c/./d", 0777), 0);
    cr_expect(g_file_test("a/c/d", G_FILE_TEST_IS_DIR));
    cr_expect_eq(symlink("a", "link"), 0);
    cr_expect_eq(g_mkdir_with_parents("link/e", 0777), 0);
    cr_expect(g_file_test("a/e", G_FILE_TEST_IS_DIR));
    cr_expect_eq(symlink("nowhere", "dangling"), 0);
    cr_expect_eq(g_mkdir_with_parents("dangling/x", 0777), -1);
    cr_expect_not(g_file_test("dangling", G_FILE_TEST_EXISTS));
}

Test(files, contents, .init = make_folder, .fini = remove_folder) {
    enum { LARGE = 300000 };
    char *path = within("file"), *text = NULL, *large = g_malloc(LARGE);
    gsize length = 1;
    write_bytes(path, "", 0);
    cr_assert(g_file_get_contents(path, &text, &length, NULL));
    cr_expect(length == 0 && *text == '\0');
    g_free(text);
    for (int i = 0; i < LARGE; i++) large[i] = (char)i;
    write_bytes(path, large, LARGE);
    cr_assert(g_file_get_contents(path, &text, &length, NULL));
    cr_assert_eq(length, LARGE);
    cr_expect_arr_eq(text, large, LARGE);
    cr_expect_eq(text[LARGE], '\0');
    g_free(text);
    cr_assert(g_file_get_contents("/proc/self/status", &text, NULL, NULL)); /* which says that it is empty */
    cr_expect(g_str_has_prefix(text, "Name:"));
    g_free(text);
    text = large;
    cr_expect_not(g_file_get_contents("/proc/nowhere", &text, NULL, NULL));
    cr_expect_null(text);
    cr_expect_not(g_file_get_contents(folder, &text, &length, NULL));
    cr_expect_null(text);
    g_free(large);
    g_free(path);
}

Test(files, time) {
    const gint64 before = g_get_monotonic_time();
    while (g_get_monotonic_time() == before) {
    }
    g_usleep(2000);
    cr_expect_geq(g_get_monotonic_time() - before, 2000);
}
