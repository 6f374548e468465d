/* These files are compiled twice, with GLib and with host/glib_subset: the same assertions hold for both. */
#include <criterion/criterion.h>
#include <errno.h>
#include <glib.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Frees `got`. */
static void expect(char *got, const char *wanted) {
    cr_expect_str_eq(got, wanted);
    g_free(got);
}

static void expect_words(char **words, const char *joined) {
    char *got = g_strjoinv("|", words);
    cr_expect_str_eq(got, joined);
    g_free(got);
    g_strfreev(words);
}

Test(text, copies) {
    cr_expect_null(g_strdup(NULL));
    cr_expect_null(g_strndup(NULL, 3));
    cr_expect_null(g_strconcat(NULL, "never looked at", NULL));
    cr_expect_null(g_memdup2("x", 0));
    cr_expect_null(g_malloc(0));
    cr_expect_null(g_new0(int, 0));
    expect(g_strdup("word"), "word");
    expect(g_strndup("word", 2), "wo");
    expect(g_strndup("word", 20), "word");
    expect(g_strconcat("a", "", "bc", NULL), "abc");
    expect(g_strdup_printf("%s %5.2f %" G_GINT64_FORMAT, "x", 1.5, (gint64)INT64_MIN), "x  1.50 -9223372036854775808");
    char *text = g_strdup("gone");
    g_clear_pointer(&text, g_free);
    cr_expect_null(text);
    g_clear_pointer(&text, g_free);
}

Test(text, bounded_copies) {
    char small[4] = "abc", part[8];
    cr_expect_eq(g_strlcpy(small, "longer", sizeof small), 6);
    cr_expect_str_eq(small, "lon");
    cr_expect_eq(g_strlcpy(small, "longer", 0), 6);
    cr_expect_str_eq(small, "lon");
    cr_expect_eq(g_strlcat(small, "ger", sizeof small), 6);
    cr_expect_str_eq(small, "lon");
    memcpy(small, "full", 4); /* without a NUL */
    cr_expect_eq(g_strlcat(small, "er", sizeof small), 6);
    cr_expect_arr_eq(small, "full", 4);
    g_strlcpy(part, "abc", sizeof part);
    cr_expect_eq(g_strlcat(part, "defgh", sizeof part), 8);
    cr_expect_str_eq(part, "abcdefg");
    cr_expect_eq(g_snprintf(small, sizeof small, "%d", 12345), 5);
    cr_expect_str_eq(small, "123");
}

Test(text, comparisons) {
    cr_expect_eq(g_strcmp0(NULL, NULL), 0);
    cr_expect_lt(g_strcmp0(NULL, ""), 0);
    cr_expect_gt(g_strcmp0("", NULL), 0);
    cr_expect_lt(g_strcmp0("a", "b"), 0);
    cr_expect(g_str_has_prefix("task copy", "task "));
    cr_expect(g_str_has_prefix("any", ""));
    cr_expect_not(g_str_has_prefix("ta", "task"));
    cr_expect(g_str_has_suffix("run.csv", ".csv") && g_str_has_suffix("any", "") && g_str_has_suffix("", ""));
    cr_expect_not(g_str_has_suffix("csv", ".csv"));
    cr_expect_not(g_str_has_suffix("a.csv.b", ".csv"));
    const char *const words[] = {"one", "two", NULL}, *const none[] = {NULL};
    cr_expect(g_strv_contains(words, "two"));
    cr_expect_not(g_strv_contains(words, "tw"));
    cr_expect_not(g_strv_contains(none, ""));
}

Test(text, blanks_at_the_ends) {
    static const char *const cases[][2] = {{"", ""},         {" ", ""},          {"\t\r\n\f x y \f\n", "x y"},
                                           {"\v x", "\v x"}, {"x\xA0", "x\xA0"}, {"  x", "x"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *text = g_strdup(cases[i][0]);
        cr_expect_eq(g_strstrip(text), text);
        expect(text, cases[i][1]);
    }
    char *text = g_strdup(" x ");
    g_strchomp(text);
    expect(text, " x");
}

Test(text, splitting) {
    static const struct {
        const char *text;
        int most;
        guint count;
        const char *words;
    } cases[] = {{"", -1, 0, ""},       {"a", -1, 1, "a"},        {",", -1, 2, "|"},        {"a,", -1, 2, "a|"},
                 {",a", -1, 2, "|a"},   {"a,,b", -1, 3, "a||b"},  {"a,b,c", 2, 2, "a|b,c"}, {"a,b,c", 1, 1, "a,b,c"},
                 {"a,", 2, 2, "a|"},    {"a,b,c", 3, 3, "a|b|c"}, {"a,b,c", 9, 3, "a|b|c"}, {",,", 2, 2, "|,"},
                 {"a,,", -1, 3, "a||"}, {",,", -1, 3, "||"},      {"a,b,c", 0, 3, "a|b|c"}, {"a,b,", 2, 2, "a|b,"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char **words = g_strsplit(cases[i].text, ",", cases[i].most);
        cr_expect_eq(g_strv_length(words), cases[i].count, "%s", cases[i].text);
        expect_words(words, cases[i].words);
        expect_words(g_strsplit_set(cases[i].text, ";,", cases[i].most), cases[i].words);
    }
    expect_words(g_strsplit("a--b-c---d", "--", -1), "a|b-c|-d");
    expect_words(g_strsplit("----", "--", -1), "||");
    expect_words(g_strsplit_set("a b\tc \t", " \t", -1), "a|b|c||");
    g_strfreev(NULL);
}

Test(text, quoting_for_a_shell) {
    expect(g_shell_quote(""), "''");
    expect(g_shell_quote("it's $x"), "'it'\\''s $x'");
    expect(g_shell_quote("'\n\\"), "''\\''\n\\'");
}

Test(text, reasons) {
    cr_expect_str_eq(g_strerror(ENOENT), "No such file or directory");
    cr_expect_str_eq(g_strerror(EACCES), "Permission denied");
}

Test(numbers, kinds_of_characters) {
    for (int i = -128; i < 256; i++) {
        const char c = (char)i;
        const int byte = (unsigned char)c;
        const int letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'),
                  digit = byte >= '0' && byte <= '9';
        cr_expect_eq(!!g_ascii_isspace(c), byte && byte < 0x80 && strchr(" \t\n\f\r", byte), "space %d", i);
        cr_expect_eq(!!g_ascii_isdigit(c), digit, "digit %d", i);
        cr_expect_eq(!!g_ascii_isalnum(c), letter || digit, "alnum %d", i);
        cr_expect_eq(!!g_ascii_iscntrl(c), byte < 0x20 || byte == 0x7F, "cntrl %d", i);
        cr_expect_eq(!!g_ascii_isprint(c), byte >= 0x20 && byte < 0x7F, "print %d", i);
        cr_expect_eq(g_ascii_tolower(c), letter && byte < 'a' ? (char)(byte + 32) : c, "lower %d", i);
    }
}

static void check_numbers(void) {
    char text[G_ASCII_DTOSTR_BUF_SIZE], *end;
    const char *rest = "1.5e3,7";
    cr_expect_eq(g_ascii_strtod(rest, &end), 1500.0);
    cr_expect_str_eq(end, ",7");
    cr_expect_eq(g_ascii_strtod("x", &end), 0);
    cr_expect_str_eq(end, "x");
    cr_expect_eq(g_ascii_strtod(" -0x1p4", NULL), -16);
    cr_expect(isinf(g_ascii_strtod("inf", NULL)));
    cr_expect(isnan(g_ascii_strtod("nan", NULL)));
    errno = 0;
    g_ascii_strtod("1e999", NULL);
    cr_expect_eq(errno, ERANGE);
    cr_expect_str_eq(g_ascii_formatd(text, sizeof text, "%.9g", 1234567.25), "1234567.25");
    cr_expect_str_eq(g_ascii_formatd(text, sizeof text, "%.11e", -0.1), "-1.00000000000e-01");
    cr_expect_str_eq(g_ascii_formatd(text, sizeof text, "%.17g", 0.1), "0.10000000000000001");
    cr_expect_str_eq(g_ascii_dtostr(text, sizeof text, 0.1), "0.10000000000000001");
    cr_expect_str_eq(g_ascii_dtostr(text, sizeof text, -2), "-2");
    cr_expect_str_eq(g_ascii_formatd(text, 4, "%.9g", 1.25), "1.2"); /* cut */
}

Test(numbers, reals) {
    char text[32];
    check_numbers();
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
        cr_skip_test("no locale with a decimal comma is here");
    snprintf(text, sizeof text, "%.1f", 1.5);
    cr_assert_str_eq(text, "1,5");
    check_numbers();
    snprintf(text, sizeof text, "%.1f", 1.5);
    cr_expect_str_eq(text, "1,5", "the locale was changed");
}

Test(numbers, integers) {
    char *end;
    cr_expect_eq(g_ascii_strtoll(" -12x", &end, 10), -12);
    cr_expect_str_eq(end, "x");
    cr_expect_eq(g_ascii_strtoll("0x10", NULL, 0), 16);
    cr_expect_eq(g_ascii_strtoll("", &end, 10), 0);
    cr_expect_eq(g_ascii_strtoull("18446744073709551615", NULL, 10), UINT64_MAX);
    errno = 0;
    cr_expect_eq(g_ascii_strtoll("99999999999999999999", NULL, 10), INT64_MAX);
    cr_expect_eq(errno, ERANGE);
    errno = 0;
    cr_expect_eq(g_ascii_strtoull("99999999999999999999", NULL, 10), UINT64_MAX);
    cr_expect_eq(errno, ERANGE);
}

Test(utf8, valid_and_not) {
    static const struct {
        const char *text;
        size_t good; /* bytes before the first that is wrong */
        const char *mended;
    } cases[] = {
#define BAD "\xEF\xBF\xBD"
        {"", 0, ""},
        {"plain", 5, "plain"},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82", 9, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82"},
        {"a\xC3", 1, "a" BAD},
        {"a\xC3z", 1, "a" BAD "z"},
        {"\xC0\x80", 0, BAD BAD},                 /* overlong */
        {"\xE0\x9F\xBF", 0, BAD BAD BAD},         /* overlong */
        {"\xF0\x8F\xBF\xBF", 0, BAD BAD BAD BAD}, /* overlong */
        {"\xED\xA0\x80", 0, BAD BAD BAD},         /* a surrogate */
        {"\xF4\x8F\xBF\xBF", 4, "\xF4\x8F\xBF\xBF"},
        {"\xF4\x90\x80\x80", 0, BAD BAD BAD BAD}, /* above U+10FFFF */
        {"x\x80\xBFy", 1, "x" BAD BAD "y"},
        {"\xFF\xFE", 0, BAD BAD},
        {"ok\xE2\x82", 2, "ok" BAD BAD},
        {"\xE2\x82\xE2\x82\xAC", 0, BAD BAD "\xE2\x82\xAC"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *text = cases[i].text, *end;
        const size_t length = strlen(text);
        cr_expect_eq(!!g_utf8_validate(text, -1, &end), cases[i].good == length, "case %zu", i);
        cr_expect_eq((size_t)(end - text), cases[i].good, "case %zu", i);
        cr_expect_eq(!!g_utf8_validate(text, (gssize)length, NULL), cases[i].good == length, "case %zu", i);
        expect(g_utf8_make_valid(text, -1), cases[i].mended);
    }
    cr_expect_not(g_utf8_validate("a\0b", 3, NULL));
    cr_expect(g_utf8_validate("a\xC3\xA9", 1, NULL));
    cr_expect_not(g_utf8_validate("a\xC3\xA9", 2, NULL));
}

Test(utf8, every_character) {
    for (guint32 character = 1; character < 0x120000; character++) {
        char text[8] = {0};
        size_t length = 0;
        if (character < 0x80) text[length++] = (char)character;
        else if (character < 0x800) text[length++] = (char)(0xC0 | character >> 6);
        else if (character < 0x10000) text[length++] = (char)(0xE0 | character >> 12);
        else text[length++] = (char)(0xF0 | character >> 18);
        if (character >= 0x10000) text[length++] = (char)(0x80 | (character >> 12 & 0x3F));
        if (character >= 0x800) text[length++] = (char)(0x80 | (character >> 6 & 0x3F));
        if (character >= 0x80) text[length++] = (char)(0x80 | (character & 0x3F));
        const int valid = character < 0xD800 || (character > 0xDFFF && character < 0x110000);
        const gunichar got = g_utf8_get_char_validated(text, -1);
        cr_assert_eq(valid ? got == character : got > 0x10FFFF, 1, "U+%04X", character);
        cr_assert_eq(!!g_utf8_validate(text, -1, NULL), valid, "U+%04X", character);
    }
    cr_expect_gt(g_utf8_get_char_validated("\x80", -1), 0x10FFFF);
    cr_expect_gt(g_utf8_get_char_validated("\xC3", -1), 0x10FFFF);
    cr_expect_gt(g_utf8_get_char_validated("\xE2\x82\xAC", 2), 0x10FFFF);
}
