#include "mixture.h"

#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "options.h"
#include "range.h"
#include "tasks/task.h"

/* ---- the mixtures read so far ---------------------------------------------------------------------------------- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static GPtrArray *mixtures; /* number n at n - 1 */
static GHashTable *numbers; /* text -> number */

static int32_t number_of(const eab_mixture *mixture) {
    pthread_mutex_lock(&mutex);
    if (!mixtures) {
        mixtures = g_ptr_array_new();
        numbers = g_hash_table_new(g_str_hash, g_str_equal);
    }
    int32_t number = GPOINTER_TO_INT(g_hash_table_lookup(numbers, mixture->text));
    if (!number) {
        eab_mixture *kept = g_new(eab_mixture, 1);
        *kept = *mixture;
        g_ptr_array_add(mixtures, kept);
        number = (int32_t)mixtures->len;
        g_hash_table_insert(numbers, kept->text, GINT_TO_POINTER(number));
    }
    pthread_mutex_unlock(&mutex);
    return number;
}

const eab_mixture *eab_mixture_at(int32_t number) {
    pthread_mutex_lock(&mutex);
    const eab_mixture *mixture = g_ptr_array_index(mixtures, number - 1);
    pthread_mutex_unlock(&mutex);
    return mixture;
}

void eab_mixtures_forget(void) {
    pthread_mutex_lock(&mutex);
    for (guint i = 0; mixtures && i < mixtures->len; i++) g_free(g_ptr_array_index(mixtures, i));
    if (numbers) g_hash_table_destroy(numbers);
    if (mixtures) g_ptr_array_free(mixtures, TRUE);
    numbers = NULL;
    mixtures = NULL;
    pthread_mutex_unlock(&mutex);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static const char *const example = "recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3)";

static int refuse(const char *where, const char *item, const char *problem, const char *allowed) {
    char shown[80];
    return eab_fail(EAB_BAD_INPUT, "%s: %s%s%s; allowed: %s", where, eab_excerpt(item, 60, shown, sizeof shown),
                    *item ? ": " : "", problem, allowed);
}

/* Cuts `text` at each `separator` outside of ( ), in place; each piece without the blanks around it. Free the array
 * only. */
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

/* No ( in a ( ), and as many ) as (. */
static bool is_balanced(const char *text) {
    bool open = false;
    for (; *text; text++) {
        if ((*text == '(' && open) || (*text == ')' && !open)) return false;
        if (*text == '(') open = true;
        if (*text == ')') open = false;
    }
    return !open;
}

static int find_family(const char *name, const char *where, int *family) {
    const char *families[EAB_TASK_COUNT + 1] = {NULL};
    char allowed[256], problem[128];
    *family = eab_task_from_name(name);
    if (*family >= 0) return EAB_OK;
    for (int i = 0; i < eab_task_count(); i++) families[i] = eab_task_at(i)->name;
    eab_join(families, allowed, sizeof allowed);
    if (strcmp(name, "mixture") == 0) return refuse(where, name, "a mixture of a mixture", allowed);
    g_snprintf(problem, sizeof problem, "unknown task family; nearest: %s", eab_suggest(name, families));
    return refuse(where, name, problem, allowed);
}

/* One "key=value" of a part. */
static int read_option(int family, char *pair, const char *where, uint32_t *given, eab_config *config) {
    const eab_task *task = eab_task_at(family);
    const char *names[EAB_TASK_MAX_OPTIONS + 1] = {NULL};
    char allowed[256], problem[128], place[640], shown[80];
    for (int i = 0; i < task->option_count; i++) names[i] = task->options[i].key;
    eab_join(names, allowed, sizeof allowed);
    char *equals = strchr(pair, '=');
    if (!equals || equals == pair || !equals[1])
        return refuse(where, pair, "no key=value",
                      "key=value with blanks between, such as recurrence(basis=8 delay=4)");
    *equals = '\0';
    const char *value = equals + 1;
    const eab_option *option = eab_option_find(task->name, pair);
    if (!option) {
        g_snprintf(problem, sizeof problem, "unknown key of %s; nearest: %s", task->name,
                   task->option_count ? eab_suggest(pair, names) : "none");
        return refuse(where, pair, problem, *allowed ? allowed : "no key");
    }
    int index = 0;
    while (eab_option_of_task(family, index) != option) index++;
    if (*given & UINT32_C(1) << index) return refuse(where, pair, "the key stands twice in a part", "once");
    *given |= UINT32_C(1) << index;
    if (strpbrk(value, ",:"))
        return refuse(where, value, "a list or range inside of a part",
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
        if (close[1]) return refuse(where, close + 1, "text behind a part's )", "+ and the next part");
        *open = *close = '\0';
        inside = open + 1;
        g_strchomp(text);
    }
    int family;
    EAB_TRY(find_family(text, where, &family));
    eab_config config = {.level = eab_level_default(family)};
    uint32_t given = 0;
    char **pairs = g_strsplit_set(inside ? inside : "", " \t", -1);
    int status = EAB_OK;
    for (int i = 0; pairs[i] && !status; i++)
        if (*pairs[i]) status = read_option(family, pairs[i], where, &given, &config);
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

static int write_text(const char *where, eab_mixture *mixture) {
    char level[256], problem[128];
    GString *text = g_string_new(NULL);
    for (int32_t i = 0; i < mixture->count; i++) {
        const eab_level *part = &mixture->levels[i];
        eab_level_name(part, level, sizeof level);
        g_string_append_printf(text, "%s%s", i ? " + " : "", eab_task_at(part->family)->name);
        if (*level) g_string_append_printf(text, "(%s)", level);
    }
    const gsize length = text->len;
    g_strlcpy(mixture->text, text->str, sizeof mixture->text);
    g_string_free(text, TRUE);
    if (length < sizeof mixture->text) return EAB_OK;
    g_snprintf(problem, sizeof problem, "written out, its parts take %zu bytes", length);
    return refuse(where, mixture->text, problem, "at most 1499");
}

/* "PART + PART + ..."; changes `text`. */
static int read_mixture(char *text, const char *where, int32_t *number) {
    static const char parts_allowed[] = "2..16 parts joined by +, such as recurrence(basis=8 delay=2) + recurrence";
    char shown[80], name[300], level[256];
    eab_excerpt(text, 60, shown, sizeof shown);
    if (!*text) return refuse(where, "", "no mixture", example);
    if (!is_balanced(text)) return refuse(where, text, "( and ) do not match", example);
    GPtrArray *pieces = split(text, '+');
    eab_mixture mixture = {.count = (int32_t)MIN(pieces->len, EAB_MAX_PARTS)};
    int status = EAB_OK;
    if (pieces->len < EAB_MIXTURE_MIN_PARTS || pieces->len > EAB_MAX_PARTS) {
        g_snprintf(name, sizeof name, "%u part%s", pieces->len, pieces->len == 1 ? "" : "s");
        status = refuse(where, shown, name, parts_allowed);
    }
    for (int32_t i = 0; i < mixture.count && !status; i++)
        status = read_part(g_ptr_array_index(pieces, (guint)i), where, &mixture.levels[i]);
    g_ptr_array_free(pieces, TRUE);
    EAB_TRY(status);
    qsort(mixture.levels, (size_t)mixture.count, sizeof *mixture.levels, compare_levels);
    for (int32_t i = 1; i < mixture.count; i++)
        if (compare_levels(&mixture.levels[i - 1], &mixture.levels[i]) == 0) {
            eab_level_name(&mixture.levels[i], level, sizeof level);
            g_snprintf(name, sizeof name, "%s(%s)", eab_task_at(mixture.levels[i].family)->name, level);
            return refuse(where, name, "the part stands twice in a mixture", "once");
        }
    EAB_TRY(write_text(where, &mixture));
    *number = number_of(&mixture);
    return EAB_OK;
}

int eab_mixture_parse(const char *text, const char *where, GArray *values) {
    char *copy = g_strdup(text);
    GPtrArray *items = split(copy, ',');
    int status = EAB_OK;
    for (guint i = 0; i < items->len && !status; i++) {
        int32_t number = 0;
        status = read_mixture(g_ptr_array_index(items, i), where, &number);
        const double value = number;
        if (!status) g_array_append_val(values, value);
    }
    g_ptr_array_free(items, TRUE);
    g_free(copy);
    return status;
}
