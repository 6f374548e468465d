/* The files of [task text]: tokens, digest, identity, and what is refused. */
#include <criterion/criterion.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <math.h>
#include <sys/stat.h>

#include "host/spec/cell_task.h"
#include "host/spec/text.h"
#include "spec_text.h"

static char folder[64];

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/eab-text-XXXXXX");
    cr_assert_not_null(g_mkdtemp(folder));
}

static void remove_folder(void) {
    GDir *list = g_dir_open(folder, 0, NULL);
    for (const char *name; (name = g_dir_read_name(list));) {
        char *path = g_build_filename(folder, name, NULL);
        g_remove(path);
        g_free(path);
    }
    g_dir_close(list);
    g_rmdir(folder);
}

TestSuite(text_file, .init = make_folder, .fini = remove_folder);

/* Writes FOLDER/name. */
static void write_text(const char *name, const char *bytes, size_t size) {
    char *path = g_build_filename(folder, name, NULL);
    cr_assert(g_file_set_contents(path, bytes, (gssize)size, NULL));
    g_free(path);
}

/* Loads "[task text] file = FOLDER/name OPTIONS" at context 2, with `more` lines in the section. */
static int load(const char *name, const char *more, eab_plan *plan, char error[1024]) {
    char *text = g_strdup_printf("[task text]\nfile = %s/%s\n%s\n[model]\ncontext = 2\n", folder, name, more);
    const int status = load_text(text, NULL, plan, error);
    g_free(text);
    return status;
}

static void repeat(const char *name, const char *piece, int times) {
    GString *text = g_string_new(NULL);
    while (times--) g_string_append(text, piece);
    write_text(name, text->str, text->len);
    g_string_free(text, TRUE);
}

Test(text_file, characters_and_bytes) {
    eab_plan plan;
    char error[1024];
    repeat("e", "h\xC3\xA9llo\n", 40); /* 6 characters in 7 bytes */
    cr_assert_eq(load("e", "unit = char, byte\n", &plan, error), EAB_OK, "%s", error);
    cr_assert_eq(plan.count, 2);
    static const uint32_t symbols[2][6] = {{'\n', 'h', 'l', 'o', 0xE9}, {'\n', 'h', 'l', 'o', 0xA9, 0xC3}};
    static const uint16_t tokens[2][7] = {{1, 4, 2, 2, 3, 0}, {1, 5, 4, 2, 2, 3, 0}};
    for (int unit = 0; unit < 2; unit++) {
        const eab_level *level = &plan.cells[unit].config.level;
        const eab_text_tokens *own = eab_text_of(level);
        cr_expect_eq(own->vocab, 5 + unit);
        cr_expect_eq(eab_config_vocab(&plan.cells[unit].config), 5 + unit);
        cr_expect_eq(own->count, 240 + 40 * unit);
        cr_expect_eq(own->most_frequent, 80);
        for (int i = 0; i < 5 + unit; i++) cr_expect_eq(own->symbols[i], symbols[unit][i]);
        for (int i = 0; i < own->count; i++) cr_expect_eq(own->tokens[i], tokens[unit][i % (6 + unit)]);
    }
    /* ln 2 nats a character are one bit, and 6/7 of one a byte. */
    cr_expect_float_eq(eab_text_bits_per_character(&plan.cells[0].config.level, log(2)), 1, 1e-12);
    cr_expect_float_eq(eab_text_bits_per_byte(&plan.cells[0].config.level, log(2)), 6 / 7.0, 1e-12);
    cr_expect_float_eq(eab_text_bits_per_character(&plan.cells[1].config.level, log(2)), 7 / 6.0, 1e-12);
    cr_expect_float_eq(eab_text_bits_per_byte(&plan.cells[1].config.level, log(2)), 1, 1e-12);
    cr_expect_str_neq(plan.cells[0].id, plan.cells[1].id);
    eab_plan_free(&plan);
}

Test(text_file, bytes_need_no_utf8) {
    eab_plan plan;
    char error[1024];
    write_text("raw",
               "ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0ab\xFF\0"
               "ab\xFF\0ab\xFF\0ab\xFF\0",
               60);
    cr_assert_eq(load("raw", "unit = byte\n", &plan, error), EAB_OK, "%s", error);
    cr_expect_eq(eab_config_vocab(&plan.cells[0].config), 4);
    cr_expect(isnan(eab_text_bits_per_character(&plan.cells[0].config.level, 1)));
    eab_plan_free(&plan);
}

/* The content and the options identify a cell, not the file's name. */
Test(text_file, identity) {
    eab_plan plan;
    char error[1024], id[5][17];
    static const struct {
        const char *name, *more;
    } of[] = {{"a", ""}, {"b", ""}, {"c", ""}, {"a", "test_percent = 6"}, {"a", "unit = byte"}};
    repeat("a", "to be or not\n", 40);
    repeat("b", "to be or not\n", 40);
    repeat("c", "to be or not\n", 41);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(load(of[i].name, of[i].more, &plan, error), EAB_OK, "%s", error);
        memcpy(id[i], plan.cells[0].id, sizeof id[i]);
        eab_plan_free(&plan);
    }
    cr_expect_str_eq(id[0], id[1]);
    for (int i = 2; i < 5; i++) cr_expect_str_neq(id[0], id[i], "%d", i);
    cr_assert_eq(load("a, b, c", "", &plan, error), EAB_BAD_INPUT); /* b and c are relative: not there */
    repeat("d", "to be or not\n", 40);
    char *both = g_strdup_printf("a, %s/d", folder);
    cr_assert_eq(load(both, "", &plan, error), EAB_OK, "%s", error);
    g_free(both);
    cr_expect(plan.count == 1 && plan.duplicates == 1);
    eab_plan_free(&plan);
}

/* The plan as a manifest shows it can be loaded, and refuses a file with another content. */
Test(text_file, the_digest_is_written_and_checked) {
    eab_plan plan, again;
    char error[1024], wanted[512];
    repeat("a", "to be or not\n", 40);
    cr_assert_eq(load("a", "", &plan, error), EAB_OK, "%s", error);
    const char *digest = plan.cells[0].config.level.text->sha256;
    g_snprintf(wanted, sizeof wanted, "file = %s/a sha256:%s\n", folder, digest);
    cr_expect(strstr(plan.resolved, wanted), "%s", plan.resolved);
    cr_assert_eq(load_text(plan.resolved, NULL, &again, error), EAB_OK, "%s", error);
    cr_expect_str_eq(again.cells[0].id, plan.cells[0].id);
    cr_expect_str_eq(again.resolved, plan.resolved);
    eab_plan_free(&again);
    repeat("a", "to be or not\n", 41);
    cr_assert_eq(load_text(plan.resolved, NULL, &again, error), EAB_BAD_INPUT);
    cr_expect(strstr(error, "the file has changed: its digest is sha256:"), "%s", error);
    eab_plan_free(&plan);
}

/* --set may replace a file that is not there. */
Test(text_file, only_the_final_file_is_read) {
    eab_plan plan;
    char error[1024], *set = g_strdup_printf("task.file=%s/a", folder);
    repeat("a", "to be or not\n", 40);
    const char *const sets[] = {set, NULL};
    cr_assert_eq(load_text("[task text]\nfile = /nowhere\n[model]\ncontext=2\n", sets, &plan, error), EAB_OK, "%s",
                 error);
    eab_plan_free(&plan);
    g_free(set);
}

static void expect_refused(const char *name, const char *more, const char *message) {
    eab_plan plan;
    char error[1024];
    cr_assert_eq(load(name, more, &plan, error), EAB_BAD_INPUT, "%s", name);
    cr_expect(strstr(error, message), "%s: %s", name, error);
    cr_expect_not(strchr(error, '\n'));
}

Test(text_file, hostile_files, .timeout = 60) {
    char *path = g_build_filename(folder, "fifo", NULL);
    cr_assert_eq(mkfifo(path, 0600), 0);
    g_free(path);
    expect_refused("fifo", "", "not a regular file; allowed: a readable regular file of 1..268435456 bytes");
    expect_refused("", "", "a directory; allowed: ");
    expect_refused("absent", "", "No such file or directory; allowed: ");
    write_text("empty", "", 0);
    expect_refused("empty", "", "empty; allowed: ");
    path = g_build_filename(folder, "huge", NULL);
    write_text("huge", "a", 1);
    cr_assert_eq(truncate(path, (off_t)EAB_TEXT_MAX_BYTES + 1), 0); /* sparse */
    expect_refused("huge", "", "larger; allowed: ");
    g_free(path);
    repeat("one", "a", 100);
    expect_refused("one", "", "one: a vocabulary of 1; allowed: 2..4096");
    repeat("invalid", "ab\xFF", 40);
    expect_refused("invalid", "", "invalid: byte 3 is not UTF-8 text; allowed: unit = byte, or a file in UTF-8");
    repeat("short", "ab", 20);
    expect_refused("short", "", "short: the validation part has 2 of 40 tokens, context = 2 takes 3; allowed: ");
    expect_refused("short sha256:12", "", "no digest behind sha256:; allowed: 64 digits");
    expect_refused("short\nfile = x", "", "the key is on line 2 already");
    expect_refused("short", "[train]\nheldout = hash", "cuts its file by share; allowed: auto, none");
    GString *many = g_string_new(NULL);
    for (gunichar c = 0x4E00; c < 0x4E00 + 4097; c++) g_string_append_unichar(many, c);
    write_text("many", many->str, many->len);
    g_string_free(many, TRUE);
    expect_refused("many", "", "many: a vocabulary of 4097; allowed: 2..4096, or unit = byte");
    if (getuid() != 0) { /* root may read any file */
        path = g_build_filename(folder, "short", NULL);
        cr_assert_eq(chmod(path, 0), 0);
        g_free(path);
        expect_refused("short", "", "Permission denied; allowed: ");
    }
}

Test(text_file, a_section_needs_a_file) {
    eab_plan plan;
    char error[1024];
    cr_assert_eq(load_text("[task text]\nunit = byte\n", NULL, &plan, error), EAB_BAD_INPUT);
    cr_expect_str_eq(error, "SPEC:1: [task text]: no file; allowed: file = PATH");
    cr_assert_eq(load_text("[task text]\nfile =\n", NULL, &plan, error), EAB_BAD_INPUT);
    cr_expect_str_eq(error, "SPEC:2: [task text] file = : no file; allowed: file = PATH");
    cr_assert_eq(load_text("[task mixture]\nparts = text + recurrence\n", NULL, &plan, error), EAB_BAD_INPUT);
    cr_expect(strstr(error, "unknown task family 'text'"), "%s", error);
}
