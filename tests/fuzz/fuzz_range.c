/* The grammar of values: the first byte chooses the option, the rest is its text. Accepted values must be within the
 * option's bounds, and a printed value must be read as the same value. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/spec/mixture.h"
#include "../../host/spec/options.h"
#include "../../host/spec/range.h"
#include "../../host/spec/text.h"
#include "fuzz.h"

/* All options: those of the model and of training, then those of each family. */
static const eab_option *choose_option(unsigned number) {
    static const eab_option *options[256];
    static unsigned count;
    if (!count) {
        for (int i = 0; i < eab_option_count; i++) options[count++] = &eab_options[i];
        for (int family = 0; family < EAB_FAMILY_COUNT; family++)
            for (int i = 0; eab_option_at(eab_family_name(family), i) && count < 256; i++)
                options[count++] = eab_option_at(eab_family_name(family), i);
    }
    return options[number % count];
}

static void expect_sound(const eab_option *option, double value) {
    char text[EAB_OPTION_TEXT_SIZE];
    GArray *again = g_array_new(FALSE, FALSE, sizeof(double));
    fuzz_expect(eab_option_within(option, value), "a value within the option's bounds");
    eab_option_print_value(option, value, text, sizeof text);
    fuzz_expect(eab_range_parse(option, text, "again", again) == 0 && again->len == 1, "a printed value that is read");
    fuzz_expect(g_array_index(again, double, 0) == value, "the same value, printed and read");
    g_array_unref(again);
}

static void read_values(const eab_option *option, const char *text) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    const int status = eab_range_parse(option, text, "fuzz", values);
    if (status) {
        fuzz_expect_refusal(status);
    } else {
        fuzz_expect(values->len > 0 && values->len <= EAB_RANGE_MAX_VALUES, "a number of values within the bounds");
        expect_sound(option, g_array_index(values, double, 0));
        expect_sound(option, g_array_index(values, double, values->len - 1));
        for (guint i = 0; i < values->len; i++)
            fuzz_expect(eab_option_within(option, g_array_index(values, double, i)), "values within the bounds");
    }
    g_array_unref(values);
}

static void read_mixtures(const char *text) {
    GPtrArray *mixtures = g_ptr_array_new_with_free_func(g_free);
    const int status = eab_mixture_parse(text, "fuzz", mixtures);
    if (status) fuzz_expect_refusal(status);
    const guint count = status ? 0 : mixtures->len;
    fuzz_expect(status || count > 0, "a mixture");
    for (guint i = 0; i < count; i++) {
        const eab_mixture *mixture = g_ptr_array_index(mixtures, i);
        fuzz_expect(eab_mixture_parse(mixture->text, "again", mixtures) == 0, "a printed mixture that is read");
        const eab_mixture *again = g_ptr_array_index(mixtures, mixtures->len - 1);
        fuzz_expect(strcmp(again->text, mixture->text) == 0, "the same mixture, printed and read");
    }
    g_ptr_array_unref(mixtures);
}

/* Names are read, files are not. */
static void read_files(const char *text) {
    GPtrArray *texts = g_ptr_array_new_with_free_func(eab_text_free);
    fuzz_expect(eab_text_parse(text, "fuzz", texts) || texts->len > 0, "a file");
    g_ptr_array_unref(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const eab_option *option = choose_option(data[0]);
    char *text = fuzz_text(data + 1, size - 1);
    if (option->kind == EAB_OPTION_MIXTURE) read_mixtures(text);
    else if (option->kind == EAB_OPTION_FILE) read_files(text);
    else read_values(option, text);
    free(text);
    return 0;
}
