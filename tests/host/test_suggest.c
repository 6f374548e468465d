#include <criterion/criterion.h>
#include <string.h>

#include "host/base/suggest.h"

Test(suggest, distance_counts_edits) {
    static const struct {
        const char *a, *b;
        int distance;
    } cases[] = {
        {"", "", 0},           {"", "abc", 3},  {"lr", "lr", 0},  {"LR", "lr", 0},      {"kitten", "sitting", 3},
        {"haeds", "heads", 1}, {"ab", "ba", 1}, {"ca", "abc", 3}, {"steps", "step", 1}, {"wramup", "warmup", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(eab_edit_distance(cases[i].a, cases[i].b), cases[i].distance, "%s %s", cases[i].a, cases[i].b);
        cr_expect_eq(eab_edit_distance(cases[i].b, cases[i].a), cases[i].distance, "%s %s", cases[i].b, cases[i].a);
    }
}

Test(suggest, long_names_are_cut) {
    char a[1000], b[1000];
    memset(a, 'a', sizeof a - 1);
    memset(b, 'b', sizeof b - 1);
    a[999] = b[999] = '\0';
    cr_expect_eq(eab_edit_distance(a, b), 63);
}

Test(suggest, nearest_name) {
    static const char *const names[] = {"sweep", "check", "devices", "tasks", NULL};
    static const char *const none[] = {NULL};
    cr_expect_str_eq(eab_suggest("swep", names), "sweep");
    cr_expect_str_eq(eab_suggest("DEVICE", names), "devices");
    cr_expect_str_eq(eab_suggest("chekc", names), "check");
    cr_expect_null(eab_suggest("x", none));
}

Test(suggest, join_fits) {
    static const char *const names[] = {"one", "two", "three", NULL};
    char text[32], small[8];
    eab_join(names, text, sizeof text);
    cr_expect_str_eq(text, "one, two, three");
    eab_join(names, small, sizeof small);
    cr_expect_str_eq(small, "one, tw");
}

Test(suggest, excerpt_is_one_printable_line) {
    char out[64];
    cr_expect_str_eq(eab_excerpt("plain = 1", 60, out, sizeof out), "plain = 1");
    cr_expect_str_eq(eab_excerpt("a\nb\x1b[31m", 60, out, sizeof out), "a\\x0Ab\\x1B[31m");
    cr_expect_str_eq(eab_excerpt("gr\xc3\xb6\xc3\x9f"
                                 "e",
                                 60, out, sizeof out),
                     "gr\xc3\xb6\xc3\x9f"
                     "e");
    cr_expect_str_eq(eab_excerpt("bad \xff\xfe", 60, out, sizeof out), "bad \\xFF\\xFE");
    cr_expect_str_eq(eab_excerpt("0123456789", 4, out, sizeof out), "0123...");
}

/* Characters that move the cursor, reverse the line or are invisible: C1 controls, U+202E, U+200B, U+2028, U+FEFF, a
 * tag. */
Test(suggest, excerpt_shows_hidden_characters) {
    static const char *const hidden[][2] = {
        {"\xC2\x9B"
         "31m",
         "\\xC2\\x9B31m"},
        {"\xE2\x80\xAE", "\\xE2\\x80\\xAE"},
        {"\xE2\x80\x8B", "\\xE2\\x80\\x8B"},
        {"\xE2\x80\xA8", "\\xE2\\x80\\xA8"},
        {"\xEF\xBB\xBF", "\\xEF\\xBB\\xBF"},
        {"\xF3\xA0\x81\x81", "\\xF3\\xA0\\x81\\x81"},
        {"\xED\xA0\x80", "\\xED\\xA0\\x80"},
        {"\xC2\xA0|\xE2\x82\xAC|\xF0\x9F\x99\x82", "\xC2\xA0|\xE2\x82\xAC|\xF0\x9F\x99\x82"}};
    char out[64];
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        cr_expect_str_eq(eab_excerpt(hidden[i][0], 60, out, sizeof out), hidden[i][1]);
}

Test(suggest, excerpt_never_overflows) {
    char text[256], out[300];
    for (size_t i = 0; i < 255; i++) text[i] = (char)(i * 7 + 1);
    text[255] = '\0';
    for (size_t size = 9; size < 300; size++) {
        memset(out, '!', sizeof out);
        eab_excerpt(text, 1000, out, size);
        cr_assert(memchr(out, '\0', size));
        if (size < 300) cr_assert_eq(out[size < 299 ? size : 299], '!');
    }
}
