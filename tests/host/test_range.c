#include <criterion/criterion.h>
#include <glib.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "host/spec/range.h"

static int parse(const char *section, const char *key, const char *text, GArray *values) {
    g_array_set_size(values, 0);
    const eab_option *option = eab_option_find(section, key);
    cr_assert(option);
    return eab_range_parse(option, text, "HERE", values);
}

/* Values as the manifest shows them, to compare with a table of strings. */
static void print_values(const char *section, const char *key, const GArray *values, char *text, size_t size) {
    char number[40];
    text[0] = '\0';
    for (guint i = 0; i < values->len; i++) {
        eab_option_print_value(eab_option_find(section, key), g_array_index(values, double, i), number, sizeof number);
        if (i) g_strlcat(text, " ", size);
        g_strlcat(text, number, size);
    }
}

static const struct {
    const char *section, *key, *text, *values;
} good[] = {
    {"model", "layers", "4", "4"},
    {"model", "layers", " 4 , 8 ", "4 8"},
    {"model", "layers", "+4", "4"},
    {"model", "layers", "4, 4", "4 4"},
    {"model", "layers", "3:6", "3 4 5 6"},
    {"model", "layers", "3:3", "3"},
    {"model", "layers", "1:8:+3", "1 4 7"},
    {"model", "layers", "1 : 7 : +3", "1 4 7"},
    {"model", "layers", "1, 4:6, 10:20:+5", "1 4 5 6 10 15 20"},
    {"model", "layers", "1:100:+50", "1 51"},
    {"model", "d_model", "16:64:*2", "16 32 64"},
    {"model", "d_model", "16:100:*2", "16 32 64"},
    {"model", "d_model", "1:1000:*10", "1 10 100 1000"},
    {"model", "mlp_ratio", "-0", "0"},
    {"train", "steps", "1000000000", "1000000000"},
    {"train", "seed", "4294967290:4294967295:+5", "4294967290 4294967295"},
    {"train", "warmup", "9007199254740990:9007199254740992", "9007199254740990 9007199254740991 9007199254740992"},
    {"train", "lr", "1e-2, 0.02,.04, 1E-1", "0.01 0.02 0.04 0.1"},
    {"train", "lr", "1.", "1"},
    {"train", "lr", "1e-3:1:*10", "0.001 0.01 0.1 1"},
    {"train", "lr", "0.01:0.1:+0.01", "0.01 0.02 0.03 0.04 0.05 0.06 0.07 0.08 0.09 0.1"},
    {"train", "lr", "1:2:*1.4142135624", "1 1.4142135624 2"}, /* hit to 1e-9 */
    {"train", "lr", "1:2:*1.41421", "1 1.41421 1.9999899241"},
    {"train", "lr", "1:2:*1.4143", "1 1.4143"},
    {"train", "lr", "0.5:3", "0.5 1.5 2.5"},
    {"train", "lr", "1e-300:1e-298:*10", "1e-300 1e-299 1e-298"},
    {"train", "weight_decay", "-0.0, 0:0.3:+0.1", "0 0 0.1 0.2 0.3"},
    {"train", "weight_decay", "1e300", "1e+300"},
    {"train", "scale", "auto, 0.5", "auto 0.5"},
    {"train", "mechanism", "dpa, ea,ea-scaled", "dpa ea ea-scaled"},
    {"model", "bias", "on, off", "on off"},
    {"recurrence", "delay", "2:8:*2", "2 4 8"},
};

Test(range, values) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[512] = "";
        const int status = parse(good[i].section, good[i].key, good[i].text, values);
        print_values(good[i].section, good[i].key, values, text, sizeof text);
        cr_expect_eq(status, EAB_OK, "%s: %s", good[i].text, eab_last_error());
        cr_expect_str_eq(text, good[i].values, "%s: got %s", good[i].text, text);
    }
    g_array_unref(values);
}

static const struct {
    const char *section, *key, *text, *error;
} bad[] = {
    {"model", "layers", "", "HERE: no value; allowed: an integer 1..64"},
    {"model", "layers", " ", "HERE: no value; allowed: an integer 1..64"},
    {"model", "layers", "4,,8", "HERE: empty item; allowed: an integer 1..64"},
    {"model", "layers", "4,", "HERE: empty item; allowed: an integer 1..64"},
    {"model", "layers", ",4", "HERE: empty item; allowed: an integer 1..64"},
    {"model", "layers", "0", "HERE: out of bounds; allowed: an integer 1..64"},
    {"model", "layers", "65", "HERE: out of bounds; allowed: an integer 1..64"},
    {"model", "layers", "-3", "HERE: out of bounds; allowed: an integer 1..64"},
    {"model", "layers", "8x", "HERE: not a number; allowed: an integer 1..64"},
    {"model", "layers", "8 9", "HERE: not a number; allowed: an integer 1..64"},
    {"model", "layers", "0x10", "HERE: not a number; allowed: an integer 1..64"},
    {"model", "layers", "1.5", "HERE: not written as an integer; allowed: an integer 1..64"},
    {"model", "layers", "1e1", "HERE: not written as an integer; allowed: an integer 1..64"},
    {"model", "layers", "99999999999999999999", "HERE: too large; allowed: an integer 1..64"},
    {"model", "layers", "2, 99999999999", "HERE: 99999999999: out of bounds; allowed: an integer 1..64"},
    {"model", "layers", "8:4", "HERE: the range runs the wrong way; allowed: an integer 1..64"},
    {"model", "layers", "4:8:+0", "HERE: the step +0 is not above 0; allowed: an integer 1..64"},
    {"model", "layers", "4:8:+-1", "HERE: the step +-1 is not above 0; allowed: an integer 1..64"},
    {"model", "layers", "4:8:+0.5", "HERE: 0.5: not written as an integer; allowed: an integer 1..64"},
    {"model", "layers", "4:8:*1", "HERE: the factor *1 is not above 1; allowed: an integer 1..64"},
    {"model", "layers", "4:8:*0", "HERE: the factor *0 is not above 1; allowed: an integer 1..64"},
    {"model", "layers", "4:8:*1.5", "HERE: 1.5: not written as an integer; allowed: an integer 1..64"},
    {"model", "layers", "4:8:2", "HERE: a range is a:b, a:b:+step or a:b:*factor; allowed: an integer 1..64"},
    {"model", "layers", "4:8:+1:2", "HERE: a range is a:b, a:b:+step or a:b:*factor; allowed: an integer 1..64"},
    {"model", "layers", "4:", "HERE: a number is missing; allowed: an integer 1..64"},
    {"model", "layers", ":4", "HERE: a number is missing; allowed: an integer 1..64"},
    {"model", "layers", "4:8:", "HERE: a range is a:b, a:b:+step or a:b:*factor; allowed: an integer 1..64"},
    {"model", "layers", "4:8:+", "HERE: a number is missing; allowed: an integer 1..64"},
    {"model", "layers", "60:70", "HERE: 65 is out of bounds; allowed: an integer 1..64"},
    {"model", "mlp_ratio", "0:8:*2", "HERE: a factor needs a start above 0; allowed: an integer 0..16"},
    {"train", "seed", "1:1000001",
     "HERE: 1000001 values, where 1000000 are the most; allowed: an integer 0..4294967295"},
    {"train", "seed", "1:600000, 1:600000",
     "HERE: 1:600000: 1200000 values, where 1000000 are the most; allowed: an integer 0..4294967295"},
    {"train", "seed", "1..5", "HERE: not a number; a range is written a:b; allowed: an integer 0..4294967295"},
    {"train", "lr", "nan", "HERE: not a number; allowed: a real above 0, at most 10"},
    {"train", "lr", "inf", "HERE: not a number; allowed: a real above 0, at most 10"},
    {"train", "lr", "0x1p-3", "HERE: not a number; allowed: a real above 0, at most 10"},
    {"train", "lr", "1e-x", "HERE: not a number; allowed: a real above 0, at most 10"},
    {"train", "lr", "1,1e", "HERE: 1e: not a number; allowed: a real above 0, at most 10"},
    {"train", "lr", ".", "HERE: not a number; allowed: a real above 0, at most 10"},
    {"train", "lr", "1e999", "HERE: too large; allowed: a real above 0, at most 10"},
    {"train", "lr", "1e-999", "HERE: out of bounds; allowed: a real above 0, at most 10"},
    {"train", "lr", "0", "HERE: out of bounds; allowed: a real above 0, at most 10"},
    {"train", "lr", "0:1:+0.1", "HERE: 0 is out of bounds; allowed: a real above 0, at most 10"},
    {"train", "lr", "1:100:*10", "HERE: 100 is out of bounds; allowed: a real above 0, at most 10"},
    {"train", "lr", "1e-9:1:+1e-9",
     "HERE: 1000000000 values, where 1000000 are the most; allowed: a real above 0, at most 10"},
    {"train", "lr", "1:10:+1e-320",
     "HERE: 1e+18 values, where 1000000 are the most; allowed: a real above 0, at most 10"},
    {"train", "lr", "1:10:*1.0000000000000002",
     "HERE: 1.036992137e+16 values, where 1000000 are the most; allowed: a real above 0, at most 10"},
    {"train", "beta1", "1", "HERE: out of bounds; allowed: a real at least 0, below 1"},
    {"train", "scale", "0", "HERE: out of bounds; allowed: auto, or a real 1e-30..1e+30"},
    {"train", "scale", "automatic", "HERE: not a number; allowed: auto, or a real 1e-30..1e+30"},
    {"train", "mechanism", "dpa, eas",
     "HERE: eas: no such choice; nearest: ea; allowed: dpa, ea, ea-scaled, ea-softmax, "
     "ea-parallel, square, ea-quartic, sigmoid, mix"},
    {"train", "mechanism", "dpa:ea",
     "HERE: a choice takes a list, no range; allowed: dpa, ea, ea-scaled, ea-softmax, "
     "ea-parallel, square, ea-quartic, sigmoid, mix"},
    {"model", "bias", "On", "HERE: no such choice; nearest: on; allowed: off, on"},
    {"model", "position", "1", "HERE: no such choice; nearest: rope; allowed: learned, alibi, rope, none"},
};

Test(range, mistakes) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(parse(bad[i].section, bad[i].key, bad[i].text, values), EAB_BAD_INPUT, "%s", bad[i].text);
        cr_expect_str_eq(eab_last_error(), bad[i].error, "%s: got %s", bad[i].text, eab_last_error());
    }
    g_array_unref(values);
}

Test(range, errors_do_not_add_up) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    cr_assert_eq(parse("train", "lr", "1e-5:10:+1e-5", values), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(values->len, 1000000);
    char text[32];
    for (guint i = 0; i < values->len; i += 997) {
        snprintf(text, sizeof text, "%ue-5", i + 1);
        cr_assert_eq(g_array_index(values, double, i), g_ascii_strtod(text, NULL), "value %u", i);
    }
    cr_expect_eq(g_array_index(values, double, 999999), 10.0);

    cr_assert_eq(parse("train", "lr", "1e-3:10:*1.0001", values), EAB_OK);
    for (guint i = 0; i < values->len; i += 1009)
        cr_assert(fabs(g_array_index(values, double, i) / (1e-3 * pow(1.0001, i)) - 1) < 2e-11, "value %u", i);
    g_array_unref(values);
}

Test(range, list_and_range_are_the_same_cells) {
    GArray *list = g_array_new(FALSE, FALSE, sizeof(double)), *range = g_array_new(FALSE, FALSE, sizeof(double));
    cr_assert_eq(parse("train", "lr", "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0", list), EAB_OK);
    cr_assert_eq(parse("train", "lr", "0.1:1:+0.1", range), EAB_OK);
    cr_assert_eq(list->len, range->len);
    cr_expect_eq(memcmp(list->data, range->data, list->len * sizeof(double)), 0);
    g_array_unref(list);
    g_array_unref(range);
}

Test(range, the_locale_does_not_matter) {
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C"};
    for (size_t i = 0; i < 4; i++)
        if (setlocale(LC_ALL, locales[i])) break;
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    char text[64];
    cr_assert_eq(parse("train", "lr", "0.25, 1.5", values), EAB_OK);
    print_values("train", "lr", values, text, sizeof text);
    cr_expect_str_eq(text, "0.25 1.5");
    g_array_unref(values);
}
