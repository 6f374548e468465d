#include "mixture.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "options.h"
#include "range.h"
#include "tasks/task.h"

static const char *const example = "recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3)";

static int refuse(const char *where, const char *item, const char *problem, const char *allowed) {
    char shown[80];
    return eab_fail(EAB_BAD_INPUT, "%s: %s%s%s; allowed: %s", where, eab_excerpt(item, 60, shown, sizeof shown),
                    *item ? ": " : "", problem, allowed);
}

/* Cuts `text` in place at each `separator` outside ( ) and strips the pieces; only the array is to be freed. */
static GPtrArray *split(char *text, char separator) {
    GPtrArray *pieces = g_ptr_array_new();
    int depth = 0;
    char *begin = text;
    for (char *c = text;; c++) {
        depth += (*c == '(') - (*c == ')');
        if (*c && (*c != separator || depth > 0)) continue;
        const bool last = !*c;
        *c = '\0';
        g_ptr_array_add(pieces, g_strstrip(begin));
        if (last) return pieces;
        begin = c + 1;
    }
}

/* Each ( is closed before the next one opens. */
static bool is_balanced(const char *text) {
    int depth = 0;
    for (; *text; text++) {
        depth += (*text == '(') - (*text == ')');
        if (depth < 0 || depth > 1) return false;
    }
    return depth == 0;
}

/* One "key=value" of a part. */
static int read_option(char *pair, const char *where, uint32_t *given, eab_config *config) {
    const char *family = eab_family_name(config->level.family);
    char place[640], shown[80];
    char *equals = strchr(pair, '=');
    if (!equals || equals == pair || !equals[1])
        return refuse(where, pair, "no key=value",
                      "key=value with blanks between, such as recurrence(basis=8 delay=4)");
    *equals = '\0';
    const char *value = equals + 1;
    const eab_option *option = eab_option_find(family, pair);
    if (!option) {
        g_snprintf(place, sizeof place, "%s: %s", where, eab_excerpt(pair, 60, shown, sizeof shown));
        return eab_option_refuse_key(family, family, pair, place);
    }
    const uint32_t bit = UINT32_C(1) << (option - eab_option_at(family, 0));
    if (*given & bit) return refuse(where, pair, "the key occurs twice in a part", "once");
    *given |= bit;
    if (strpbrk(value, ",:"))
        return refuse(where, value, "a list or range inside a part",
                      "one value; a list of mixtures, A + B, A + C, makes an axis");

    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    g_snprintf(place, sizeof place, "%s: %s=%s", where, pair, eab_excerpt(value, 40, shown, sizeof shown));
    const int status = eab_range_parse(option, value, place, values);
    if (!status) eab_option_set(option, config, g_array_index(values, double, 0));
    g_array_unref(values);
    return status;
}

/* "NAME" or "NAME(key=value ...)"; changes `text`. */
static int read_part(char *text, const char *where, eab_level *level) {
    if (!*text) return refuse(where, "", "an empty part", example);
    char *open = strchr(text, '('), *inside = NULL;
    if (open) {
        char *close = strchr(open, ')');
        if (close[1]) return refuse(where, close + 1, "text after the ) of a part", "+ and the next part");
        *open = *close = '\0';
        inside = open + 1;
        g_strchomp(text);
    }
    int family;
    if (strcmp(text, "mixture") == 0) return refuse(where, text, "a mixture of a mixture", example);
    EAB_TRY(eab_family_read(text, EAB_TASK_COUNT, where, &family));
    eab_config config = {.level = eab_level_default(family)};
    uint32_t given = 0;
    char **pairs = g_strsplit_set(inside ? inside : "", " \t", -1);
    int status = EAB_OK;
    for (int i = 0; pairs[i] && !status; i++)
        if (*pairs[i]) status = read_option(pairs[i], where, &given, &config);
    g_strfreev(pairs);
    *level = config.level;
    return status;
}

static int compare_levels(const void *a, const void *b) {
    const eab_level *left = a, *right = b;
    if (left->family != right->family) return strcmp(eab_task_at(left->family)->name, eab_task_at(right->family)->name);
    for (int i = 0; i < EAB_TASK_MAX_OPTIONS; i++)
        if (left->option[i] != right->option[i]) return left->option[i] < right->option[i] ? -1 : 1;
    return 0;
}

/* Fills in the mixture's text from its sorted levels. */
static int write_text(const char *where, eab_mixture *mixture) {
    char level[256], part[300], last[300] = "";
    gsize length = 0;
    for (int32_t i = 0; i < mixture->count; i++) {
        eab_level_name(&mixture->levels[i], level, sizeof level);
        g_snprintf(part, sizeof part, "%s%s%s%s", eab_family_name(mixture->levels[i].family), *level ? "(" : "", level,
                   *level ? ")" : "");
        if (strcmp(part, last) == 0) return refuse(where, part, "the part occurs twice in the mixture", "once");
        if (i) g_strlcat(mixture->text, " + ", sizeof mixture->text);
        length = g_strlcat(mixture->text, part, sizeof mixture->text);
        g_strlcpy(last, part, sizeof last);
    }
    if (length < sizeof mixture->text) return EAB_OK;
    return refuse(where, mixture->text, "its parts are too long when written out", "at most 1499 bytes");
}

/* "PART + PART + ..."; changes `text`. */
static int read_parts(char *text, const char *where, eab_mixture *mixture) {
    char shown[80], count[32];
    eab_excerpt(text, 60, shown, sizeof shown);
    if (!*text) return refuse(where, "", "no mixture", example);
    if (!is_balanced(text)) return refuse(where, text, "( and ) do not match", example);
    GPtrArray *pieces = split(text, '+');
    int status = EAB_OK;
    if (pieces->len < EAB_MIXTURE_MIN_PARTS || pieces->len > EAB_MAX_PARTS) {
        g_snprintf(count, sizeof count, "%u part%s", pieces->len, pieces->len == 1 ? "" : "s");
        status =
            refuse(where, shown, count, "2..16 parts joined by +, such as recurrence(basis=8 delay=2) + recurrence");
    }
    for (guint i = 0; i < pieces->len && !status; i++)
        status = read_part(g_ptr_array_index(pieces, i), where, &mixture->levels[mixture->count++]);
    g_ptr_array_free(pieces, TRUE);
    EAB_TRY(status);
    qsort(mixture->levels, (size_t)mixture->count, sizeof *mixture->levels, compare_levels);
    return write_text(where, mixture);
}

int eab_mixture_parse(const char *text, const char *where, GPtrArray *mixtures) {
    char *copy = g_strdup(text);
    GPtrArray *items = split(copy, ',');
    int status = EAB_OK;
    for (guint i = 0; i < items->len && !status; i++) {
        eab_mixture *mixture = g_new0(eab_mixture, 1);
        g_ptr_array_add(mixtures, mixture);
        status = read_parts(g_ptr_array_index(items, i), where, mixture);
    }
    g_ptr_array_free(items, TRUE);
    g_free(copy);
    return status;
}
