#include "range.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "base/suggest.h"

static const double hit_tolerance = 1e-9; /* relative: a range of reals includes its end if it comes this near */

/* What is being read, for error messages. */
typedef struct {
    const eab_option *option;
    const char *where; /* shows the whole value */
    const char *item;
    bool several; /* the value has further items */
} value_reader;

static int refuse(const value_reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(const value_reader *reader, const char *format, ...) {
    char problem[256], allowed[256], item[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    eab_option_allowed(reader->option, allowed, sizeof allowed);
    eab_excerpt(reader->item, 40, item, sizeof item);
    return eab_fail(EAB_BAD_INPUT, "%s: %s%s%s; allowed: %s", reader->where, reader->several ? item : "",
                    reader->several && *item ? ": " : "", problem, allowed);
}

static bool is_integer(const eab_option *option) {
    return option->kind == EAB_OPTION_INT32 || option->kind == EAB_OPTION_INT64;
}

/* Reads all of `text` as a plain decimal number; strtod also takes hexadecimal numbers, nan, inf and leading spaces. */
static int read_number(const value_reader *reader, const char *text, double *value) {
    char *end, shown[64] = "";
    *value = g_ascii_strtod(text, &end);
    if (strcmp(text, reader->item) != 0) { /* a part of a range */
        eab_excerpt(text, 32, shown, sizeof shown - 2);
        g_strlcat(shown, *text ? ": " : "", sizeof shown);
    }
    if (!*text) return refuse(reader, "a number is missing");
    if (end == text || *end || text[strspn(text, "+-.0123456789eE")])
        return refuse(reader, "%snot a number%s", shown, strstr(text, "..") ? "; a range is written a:b" : "");
    if (is_integer(reader->option) && strpbrk(text, ".eE")) return refuse(reader, "%snot written as an integer", shown);
    if (!isfinite(*value) || (is_integer(reader->option) && fabs(*value) > 0x1p53))
        return refuse(reader, "%stoo large", shown);
    if (*value == 0) *value = 0; /* -0 would be another cell than 0 */
    return EAB_OK;
}

static int check_bounds(const value_reader *reader, double value) {
    /* The word that stands for 0 does not make 0 itself allowed. */
    if (eab_option_within(reader->option, value) && !(reader->option->zero_word && value == 0)) return EAB_OK;
    if (!strchr(reader->item, ':')) return refuse(reader, "out of bounds");
    char shown[32];
    if (is_integer(reader->option)) snprintf(shown, sizeof shown, "%.0f", value);
    else eab_real_print(value, shown, sizeof shown);
    return refuse(reader, "%s is out of bounds", shown);
}

static int check_count(const value_reader *reader, double more, const GArray *values) {
    if (more + values->len <= EAB_RANGE_MAX_VALUES) return EAB_OK;
    return refuse(reader, "%.10g values, where %d are the most", fmin(more + values->len, 1e18), EAB_RANGE_MAX_VALUES);
}

static int read_choice(const value_reader *reader, GArray *values) {
    const char *text = reader->item;
    for (int i = 0; reader->option->choices[i]; i++)
        if (strcmp(reader->option->choices[i], text) == 0) {
            const double value = i;
            EAB_TRY(check_count(reader, 1, values));
            g_array_append_val(values, value);
            return EAB_OK;
        }
    if (strchr(text, ':')) return refuse(reader, "a choice takes a list, no range");
    return refuse(reader, "no such choice; nearest: %s", eab_suggest(text, reader->option->choices));
}

/* base^exponent by squaring: the same bits everywhere, which pow() does not promise. */
static double power(double base, int64_t exponent) {
    double result = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

static double round_to_12_digits(double value) {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    return g_ascii_strtod(g_ascii_formatd(text, sizeof text, "%.11e", value), NULL);
}

/* A checked range: start <= end, step > 0 or factor > 1. */
typedef struct {
    double start, end, by;
    bool factor;
} number_range;

static double range_value(const number_range *range, int64_t i) {
    return range->factor ? range->start * power(range->by, i) : range->start + (double)i * range->by;
}

static int expand(const value_reader *reader, const number_range *range, GArray *values) {
    /* `steps` may be an ulp off a whole number: the nearest one counts as a hit if its value is the end's. */
    const double steps = range->factor ? (log(range->end) - log(range->start)) / log(range->by)
                                       : (range->end - range->start) / range->by;
    EAB_TRY(check_count(reader, floor(steps) + 1, values));
    int64_t last = (int64_t)floor(steps + 0.5);
    const double miss = fabs(range_value(range, last) - range->end);
    const bool hit =
        is_integer(reader->option) ? miss == 0 : miss <= hit_tolerance * fmax(fabs(range->start), fabs(range->end));
    while (!hit && range_value(range, last) > range->end) last--;
    EAB_TRY(check_count(reader, (double)last + 1, values));

    for (int64_t i = 0; i <= last; i++) {
        double value = i == 0 ? range->start : i == last && hit ? range->end : range_value(range, i);
        if (!is_integer(reader->option) && i > 0 && !(i == last && hit)) value = round_to_12_digits(value);
        EAB_TRY(check_bounds(reader, value));
        g_array_append_val(values, value);
    }
    return EAB_OK;
}

static int read_range(const value_reader *reader, char **parts, GArray *values) {
    number_range range = {.by = 1};
    EAB_TRY(read_number(reader, g_strstrip(parts[0]), &range.start));
    EAB_TRY(read_number(reader, g_strstrip(parts[1]), &range.end));
    if (parts[2]) {
        const char *by = g_strstrip(parts[2]);
        if (parts[3] || (*by != '+' && *by != '*')) return refuse(reader, "a range is a:b, a:b:+step or a:b:*factor");
        range.factor = *by == '*';
        EAB_TRY(read_number(reader, by + 1, &range.by));
        if (!range.factor && range.by <= 0) return refuse(reader, "the step %s is not above 0", by);
        if (range.factor && range.by <= 1) return refuse(reader, "the factor %s is not above 1", by);
        if (range.factor && range.start <= 0) return refuse(reader, "a factor needs a start above 0");
    }
    EAB_TRY(check_bounds(reader, range.start)); /* before the values are counted: this message is clearer */
    if (range.end < range.start) return refuse(reader, "the range runs the wrong way");
    return expand(reader, &range, values);
}

static int read_item(const value_reader *reader, GArray *values) {
    const eab_option *option = reader->option;
    const char *text = reader->item;
    double value = 0;
    if (!*text) return refuse(reader, "empty item");
    if (option->kind == EAB_OPTION_CHOICE) return read_choice(reader, values);
    if (strchr(text, ':')) {
        char **parts = g_strsplit(text, ":", 5);
        const int status = read_range(reader, parts, values);
        g_strfreev(parts);
        return status;
    }
    if (!option->zero_word || strcmp(option->zero_word, text) != 0) {
        EAB_TRY(read_number(reader, text, &value));
        EAB_TRY(check_bounds(reader, value));
    }
    EAB_TRY(check_count(reader, 1, values));
    g_array_append_val(values, value);
    return EAB_OK;
}

int eab_range_parse(const eab_option *option, const char *text, const char *where, GArray *values) {
    char **items = g_strsplit(text, ",", -1);
    value_reader reader = {.option = option, .where = where, .item = ""};
    int status = EAB_OK;
    if (!text[strspn(text, " \t\r\n\f\v")]) status = refuse(&reader, "no value");
    reader.several = items[0] && items[1];
    for (int i = 0; items[i] && !status; i++) {
        reader.item = g_strstrip(items[i]);
        status = read_item(&reader, values);
    }
    g_strfreev(items);
    return status;
}
