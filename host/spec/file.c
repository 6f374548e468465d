/* Specs are a subset of GLib's key files, but not read by GLib: it tells no line numbers, merges duplicate sections and
 * keys without a word, and drops keys such as `lr[de]` where the locale does not fit. tests/host/test_spec.c holds what
 * is written here against GLib's reader. */
#include "file.h"

#include <string.h>

#include "base/suggest.h"
#include "range.h"
#include "tasks/task.h"

/* More values than the axes of any spec of at most 1,000,000 cells have: their product is at least the longest one. */
enum { MAX_VALUES = 3000000, MAX_NAMES = 64, MAX_SECTION_NAME = 100, LISTED_INTEGERS = 100 };

typedef struct {
    eab_spec *spec;
    const char *path; /* fit to print */
    int line;
    eab_section *section; /* of the line; NULL before the first and in [environment] */
    bool ignored;         /* in [environment] */
} spec_parser;

/* ---- names --------------------------------------------------------------------------------------------------- */

static const eab_option *find_option(const eab_section *section, const char *key) {
    return eab_option_find(section->family >= 0 ? eab_family_name(section->family) : section->name, key);
}

static const eab_option *mechanism_option(void) { return eab_option_find("train", "mechanism"); }

static const eab_option *option_at(const eab_section *section, int index) {
    if (section->family >= 0) return eab_option_of_task(section->family, index);
    for (int i = 0; i < eab_option_count; i++)
        if (strcmp(eab_options[i].section, section->name) == 0 && index-- == 0) return &eab_options[i];
    return NULL;
}

static eab_section *find_section(const eab_spec *spec, const char *name) {
    for (guint i = 0; i < spec->sections->len; i++) {
        eab_section *section = g_ptr_array_index(spec->sections, i);
        if (strcmp(section->name, name) == 0) return section;
    }
    return NULL;
}

static int refuse_key(const eab_section *section, const char *key, const char *where) {
    const char *names[MAX_NAMES] = {NULL};
    char allowed[512], hint[128];
    const char *other = NULL;
    for (int i = 0; i < MAX_NAMES - 1 && option_at(section, i); i++) names[i] = option_at(section, i)->key;
    for (int i = 0; i < eab_option_count; i++)
        if (strcmp(eab_options[i].key, key) == 0) other = eab_options[i].section;
    for (int family = 0; family < EAB_FAMILY_COUNT && !other; family++)
        if (eab_option_find(eab_family_name(family), key)) other = "task ...";
    if (other) snprintf(hint, sizeof hint, "it belongs into [%s]", other);
    else snprintf(hint, sizeof hint, "nearest: %s", eab_suggest(key, names));
    eab_join(names, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown key in [%s]; %s; allowed: %s", where, section->name, hint, allowed);
}

/* Words between single spaces. */
static void tidy_name(char *name) {
    char *to = g_strstrip(name);
    for (const char *from = to; *from; from++)
        if (!g_ascii_isspace(*from)) *to++ = *from;
        else if (!g_ascii_isspace(from[1])) *to++ = ' ';
    *to = '\0';
}

/* ---- sections ------------------------------------------------------------------------------------------------ */

static void clear_axis(gpointer axis) { g_array_unref(((eab_axis *)axis)->values); }

static void free_section(gpointer pointer) {
    eab_section *section = pointer;
    g_array_unref(section->axes);
    g_free(section->name);
    g_free(section);
}

static eab_section *add_section(eab_spec *spec, const char *name, int family, int line) {
    eab_section *section = g_new0(eab_section, 1);
    *section = (eab_section){g_strdup(name), family, line, g_array_new(FALSE, FALSE, sizeof(eab_axis))};
    g_array_set_clear_func(section->axes, clear_axis);
    g_ptr_array_add(spec->sections, section);
    return section;
}

/* "task FAMILY" or "task FAMILY LABEL". */
static int read_task_name(const char *name, const char *where, int *family) {
    const char *families[MAX_NAMES] = {NULL};
    char allowed[256], shown[80];
    for (int i = 0; i < EAB_FAMILY_COUNT && i < MAX_NAMES - 1; i++) families[i] = eab_family_name(i);
    eab_join(families, allowed, sizeof allowed);
    if (!name[4])
        return eab_fail(EAB_BAD_INPUT, "%s: no task family; allowed: [task FAMILY LABEL], FAMILY one of: %s", where,
                        allowed);
    char **words = g_strsplit(name + 5, " ", 2);
    int status = EAB_OK;
    *family = eab_family_from_name(words[0]);
    if (*family < 0)
        status = eab_fail(EAB_BAD_INPUT, "%s: unknown task family %s; nearest: %s; allowed: %s", where,
                          eab_excerpt(words[0], 40, shown, sizeof shown), eab_suggest(words[0], families), allowed);
    for (const char *label = words[1]; label && *label && !status; label++)
        if (!g_ascii_isalnum(*label) && !strchr(" _-+.", *label))
            status = eab_fail(EAB_BAD_INPUT,
                              "%s: a label of other characters; allowed: letters, digits, space, _ - + .", where);
    g_strfreev(words);
    return status;
}

static int open_section(spec_parser *parser, char *name) {
    char where[512], shown[120];
    tidy_name(name);
    snprintf(where, sizeof where, "%s:%d: [%s]", parser->path, parser->line,
             eab_excerpt(name, MAX_SECTION_NAME, shown, sizeof shown));
    parser->section = NULL;
    parser->ignored = strcmp(name, "environment") == 0;
    if (parser->ignored) return EAB_OK;

    int family = -1;
    if (strcmp(name, "task") == 0 || g_str_has_prefix(name, "task ")) {
        EAB_TRY(read_task_name(name, where, &family));
    } else if (strcmp(name, "model") != 0 && strcmp(name, "train") != 0) {
        char tasks[EAB_FAMILY_COUNT][64];
        const char *names[EAB_FAMILY_COUNT + 4] = {"model", "train", "environment"};
        for (int i = 0; i < EAB_FAMILY_COUNT; i++) {
            snprintf(tasks[i], sizeof tasks[i], "task %s", eab_family_name(i));
            names[3 + i] = tasks[i];
        }
        return eab_fail(EAB_BAD_INPUT,
                        "%s: unknown section; nearest: %s; allowed: model, train, environment, task FAMILY", where,
                        eab_suggest(name, names));
    }
    if (strlen(name) > MAX_SECTION_NAME)
        return eab_fail(EAB_BAD_INPUT, "%s: too long; allowed: at most %d bytes", where, MAX_SECTION_NAME);
    const eab_section *first = find_section(parser->spec, name);
    if (first)
        return eab_fail(EAB_BAD_INPUT, "%s: the section is on line %d already; allowed: once%s", where, first->line,
                        family >= 0 ? ", or with another label" : "");
    parser->section = add_section(parser->spec, name, family, parser->line);
    return EAB_OK;
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static eab_axis *find_axis(const eab_section *section, const eab_option *option, int32_t mechanism) {
    for (guint i = 0; i < section->axes->len; i++) {
        eab_axis *axis = &g_array_index(section->axes, eab_axis, i);
        if (axis->option == option && axis->mechanism == mechanism) return axis;
    }
    return NULL;
}

const eab_axis *eab_section_axis(const eab_section *section, const eab_option *option, int32_t mechanism) {
    return find_axis(section, option, mechanism);
}

/* A key: `lr`, or `lr[ea]` for the cells of that mechanism. */
typedef struct {
    const eab_option *option;
    int32_t mechanism; /* -1: no brackets */
} axis_key;

static int read_qualifier(char *name, const char *where, axis_key *found) {
    const eab_option *mechanism = mechanism_option();
    char shown[64], allowed[256];
    if (found->option == mechanism)
        return eab_fail(EAB_BAD_INPUT, "%s: the mechanism has one list for all; allowed: mechanism = ...", where);
    found->mechanism = eab_mechanism_from_name(g_strstrip(name));
    if (found->mechanism >= 0) return EAB_OK;
    eab_join(mechanism->choices, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown mechanism '%s'; nearest: %s; allowed: %s", where,
                    eab_excerpt(name, 40, shown, sizeof shown), eab_suggest(name, mechanism->choices), allowed);
}

static int read_axis_key(const eab_section *section, const char *key, const char *where, axis_key *found) {
    char *bare = g_strdup(key), *open = strchr(bare, '['), *end = bare + strlen(bare) - 1;
    const bool qualified = section->family < 0 && open && *end == ']';
    if (qualified) *open = *end = '\0';
    *found = (axis_key){find_option(section, g_strchomp(bare)), -1};
    const int status = !found->option ? refuse_key(section, qualified ? bare : key, where)
                       : qualified    ? read_qualifier(open + 1, where, found)
                                      : EAB_OK;
    g_free(bare);
    return status;
}

/* Takes `values`. */
static int set_axis(eab_spec *spec, eab_section *section, axis_key key, GArray *values, int line, const char *where) {
    eab_axis *axis = find_axis(section, key.option, key.mechanism);
    spec->value_count += values->len;
    if (axis) {
        spec->value_count -= axis->values->len;
        g_array_unref(axis->values);
        axis->values = values;
    } else {
        const eab_axis added = {key.option, key.mechanism, values, line};
        g_array_append_val(section->axes, added);
    }
    if (spec->value_count > MAX_VALUES)
        return eab_fail(EAB_BAD_INPUT, "%s: more than %d values in all; allowed: a sweep of at most 1000000 cells",
                        where, MAX_VALUES);
    return EAB_OK;
}

static int read_axis(eab_spec *spec, eab_section *section, axis_key key, const char *value, int line,
                     const char *where) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    const int status = key.option->kind == EAB_OPTION_MIXTURE ? eab_mixture_parse(value, where, values)
                                                              : eab_range_parse(key.option, value, where, values);
    if (status) {
        g_array_unref(values);
        return status;
    }
    return set_axis(spec, section, key, values, line, where);
}

/* Cuts "# ..." or "; ..." behind white space off, and the white space. */
static char *strip_comment(char *value) {
    for (char *c = value; *c; c++)
        if ((*c == '#' || *c == ';') && (c == value || g_ascii_isspace(c[-1]))) {
            *c = '\0';
            break;
        }
    return g_strstrip(value);
}

static int read_key(spec_parser *parser, char *text) {
    char where[512], shown[80], shown_key[80];
    char *equals = strchr(text, '=');
    if (!equals)
        return eab_fail(EAB_BAD_INPUT, "%s:%d: %s: no key and value; allowed: key = value, [section], # comment",
                        parser->path, parser->line, eab_excerpt(text, 60, shown, sizeof shown));
    *equals = '\0';
    const char *key = g_strstrip(text), *value = strip_comment(equals + 1);
    eab_excerpt(key, 40, shown_key, sizeof shown_key);
    if (!parser->section)
        return eab_fail(EAB_BAD_INPUT,
                        "%s:%d: %s: a key before the first section; allowed: [task ...], [model] or [train] above it",
                        parser->path, parser->line, shown_key);
    snprintf(where, sizeof where, "%s:%d: [%s] %s = %s", parser->path, parser->line, parser->section->name, shown_key,
             eab_excerpt(value, 60, shown, sizeof shown));
    axis_key found;
    EAB_TRY(read_axis_key(parser->section, key, where, &found));
    const eab_axis *first = find_axis(parser->section, found.option, found.mechanism);
    if (first) return eab_fail(EAB_BAD_INPUT, "%s: the key is on line %d already; allowed: once", where, first->line);
    return read_axis(parser->spec, parser->section, found, value, parser->line, where);
}

static int read_line(spec_parser *parser, char *line) {
    char shown[80];
    char *text = g_strstrip(line);
    if (parser->ignored && *text != '[') return EAB_OK;
    for (const char *c = text; *c; c++)
        if (g_ascii_iscntrl(*c) && *c != '\t')
            return eab_fail(EAB_BAD_INPUT, "%s:%d: %s: a control character; allowed: text", parser->path, parser->line,
                            eab_excerpt(text, 60, shown, sizeof shown));
    if (!*text || *text == '#' || *text == ';') return EAB_OK;
    if (*text != '[') return read_key(parser, text);
    char *end = strchr(text, ']');
    if (!end || !strchr("#;", end[1 + strspn(end + 1, " \t")])) /* strchr finds the end of a string, too */
        return eab_fail(EAB_BAD_INPUT, "%s:%d: %s: no section; allowed: [section] alone on its line", parser->path,
                        parser->line, eab_excerpt(text, 60, shown, sizeof shown));
    *end = '\0';
    return open_section(parser, text + 1);
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static int gather_tasks(eab_spec *spec, const char *path) {
    GPtrArray *sorted = g_ptr_array_new();
    bool any = false;
    for (guint i = 0; i < spec->sections->len; i++) {
        eab_section *section = g_ptr_array_index(spec->sections, i);
        if (section->family < 0) g_ptr_array_add(sorted, section);
        if (section->family < 0 || any) continue;
        any = true;
        for (guint j = i; j < spec->sections->len; j++) {
            eab_section *task = g_ptr_array_index(spec->sections, j);
            if (task->family >= 0) g_ptr_array_add(sorted, task);
        }
    }
    for (guint i = 0; i < sorted->len; i++) spec->sections->pdata[i] = sorted->pdata[i];
    g_ptr_array_unref(sorted);
    if (any) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: no task section; allowed: at least one, such as [task %s]", path,
                    eab_task_at(0)->name);
}

static void fill_in_defaults(eab_spec *spec) {
    static const char *const always[] = {"model", "train"};
    for (int i = 0; i < 2; i++)
        if (!find_section(spec, always[i])) add_section(spec, always[i], -1, 0);
    for (guint i = 0; i < spec->sections->len; i++) {
        eab_section *section = g_ptr_array_index(spec->sections, i);
        const eab_option *option;
        for (int j = 0; (option = option_at(section, j)); j++) {
            if (find_axis(section, option, -1)) continue;
            const eab_axis axis = {option, -1, g_array_new(FALSE, FALSE, sizeof(double)), 0};
            g_array_append_val(axis.values, option->default_value);
            g_array_append_val(section->axes, axis);
            spec->value_count++;
        }
    }
}

static int apply_to(eab_spec *spec, const char *name, const char *key, const char *value, const char *where) {
    const bool all = strcmp(name, "task") == 0;
    bool found = false;
    for (guint i = 0; i < spec->sections->len; i++) {
        eab_section *section = g_ptr_array_index(spec->sections, i);
        if (all ? section->family < 0 : strcmp(section->name, name) != 0) continue;
        found = true;
        axis_key wanted;
        EAB_TRY(read_axis_key(section, key, where, &wanted));
        EAB_TRY(read_axis(spec, section, wanted, value, 0, where));
    }
    if (found) return EAB_OK;

    const char *names[MAX_NAMES] = {"task"};
    char allowed[300];
    for (guint i = 0; i < spec->sections->len && i < MAX_NAMES - 2; i++)
        names[i + 1] = ((const eab_section *)g_ptr_array_index(spec->sections, i))->name;
    eab_join(names, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: no such section in the spec; nearest: %s; allowed: %s", where,
                    eab_suggest(name, names), allowed);
}

/* A list for a mechanism that the sweep does not have would be dropped in silence. */
static int check_mechanisms(const eab_spec *spec, const char *path) {
    const eab_axis *mechanisms = find_axis(find_section(spec, "train"), mechanism_option(), -1);
    const char *names[MAX_NAMES] = {NULL};
    char allowed[256], line[16] = "";
    for (guint i = 0, listed = 0; i < mechanisms->values->len && listed < MAX_NAMES - 1; i++) {
        const char *name = eab_mechanism_name((int32_t)g_array_index(mechanisms->values, double, i));
        if (!g_strv_contains(names, name)) names[listed++] = name;
    }
    eab_join(names, allowed, sizeof allowed);
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = g_ptr_array_index(spec->sections, i);
        for (guint j = 0; j < section->axes->len; j++) {
            const eab_axis *axis = &g_array_index(section->axes, eab_axis, j);
            if (axis->mechanism < 0 || g_strv_contains(names, eab_mechanism_name(axis->mechanism))) continue;
            if (axis->line) g_snprintf(line, sizeof line, ":%d", axis->line);
            return eab_fail(EAB_BAD_INPUT,
                            "%s%s: [%s] %s[%s]: the sweep's mechanisms are others; nearest: %s; allowed: %s", path,
                            line, section->name, axis->option->key, eab_mechanism_name(axis->mechanism),
                            eab_suggest(eab_mechanism_name(axis->mechanism), names), allowed);
        }
    }
    return EAB_OK;
}

static int apply_set(eab_spec *spec, const char *set) {
    char where[160], shown[120];
    snprintf(where, sizeof where, "--set %s", eab_excerpt(set, 80, shown, sizeof shown));
    if (!g_utf8_validate(set, -1, NULL))
        return eab_fail(EAB_BAD_INPUT, "%s: not UTF-8; allowed: section.key=value", where);
    char *text = g_strdup(set);
    char *equals = strchr(text, '=');
    if (equals) *equals = '\0';
    char *dot = strrchr(text, '.'); /* labels may hold dots, keys do not */
    int status;
    if (!equals || !dot) {
        status = eab_fail(EAB_BAD_INPUT, "%s: no %s; allowed: section.key=value, such as train.lr=1e-2,2e-2", where,
                          equals ? "section" : "=");
    } else {
        *dot = '\0';
        tidy_name(text);
        status = apply_to(spec, text, g_strstrip(dot + 1), equals + 1, where);
    }
    g_free(text);
    return status;
}

/* Parts are the one option without a default. */
static int check_mixtures(const eab_spec *spec, const char *path) {
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = g_ptr_array_index(spec->sections, i);
        if (section->family != EAB_FAMILY_MIXTURE) continue;
        const eab_axis *parts = find_axis(section, eab_option_find("mixture", "parts"), -1);
        if (g_array_index(parts->values, double, 0) > 0) continue;
        return eab_fail(EAB_BAD_INPUT,
                        "%s:%d: [%s]: no parts; allowed: parts = recurrence(basis=8 delay=2) + recurrence(basis=4 "
                        "delay=3), for example",
                        path, section->line, section->name);
    }
    return EAB_OK;
}

static int read_spec(const char *path, const char *text, const char *const *sets, eab_spec *spec) {
    char shown[300];
    spec_parser parser = {.spec = spec, .path = eab_excerpt(path, 250, shown, sizeof shown)};
    char **lines = g_strsplit(text, "\n", -1);
    int status = EAB_OK;
    for (int i = 0; lines[i] && !status; i++) {
        parser.line = i + 1;
        status = read_line(&parser, lines[i]);
    }
    g_strfreev(lines);
    EAB_TRY(status);
    EAB_TRY(gather_tasks(spec, parser.path));
    fill_in_defaults(spec);
    for (; sets && *sets; sets++) EAB_TRY(apply_set(spec, *sets));
    EAB_TRY(check_mixtures(spec, parser.path));
    return check_mechanisms(spec, parser.path);
}

int eab_spec_parse(const char *path, const char *text, const char *const *sets, eab_spec *spec) {
    *spec = (eab_spec){.sections = g_ptr_array_new_with_free_func(free_section)};
    const int status = read_spec(path, text, sets, spec);
    if (status) eab_spec_free(spec);
    return status;
}

int eab_spec_read(const char *path, const char *const *sets, eab_spec *spec) {
    char *text;
    *spec = (eab_spec){NULL, 0};
    EAB_TRY(eab_spec_file_read(path, &text));
    const int status = eab_spec_parse(path, text, sets, spec);
    g_free(text);
    return status;
}

void eab_spec_free(eab_spec *spec) {
    if (spec->sections) g_ptr_array_unref(spec->sections);
    *spec = (eab_spec){NULL, 0};
}

static void print_values(GString *text, const eab_axis *axis) {
    const double *values = (const double *)(const void *)axis->values->data;
    const guint count = axis->values->len;
    char value[EAB_OPTION_TEXT_SIZE];
    bool even = (axis->option->kind == EAB_OPTION_INT32 || axis->option->kind == EAB_OPTION_INT64) &&
                count > LISTED_INTEGERS && values[1] > values[0];
    for (guint i = 2; i < count && even; i++) even = values[i] - values[i - 1] == values[1] - values[0];
    if (even) {
        g_string_append_printf(text, "%.0f:%.0f:+%.0f", values[0], values[count - 1], values[1] - values[0]);
        return;
    }
    for (guint i = 0; i < count; i++) {
        eab_option_print_value(axis->option, values[i], value, sizeof value);
        g_string_append_printf(text, "%s%s", i ? ", " : "", value);
    }
}

char *eab_spec_print(const eab_spec *spec) {
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = g_ptr_array_index(spec->sections, i);
        g_string_append_printf(text, "%s[%s]\n", i ? "\n" : "", section->name);
        for (guint j = 0; j < section->axes->len; j++) {
            const eab_axis *axis = &g_array_index(section->axes, eab_axis, j);
            g_string_append(text, axis->option->key);
            if (axis->mechanism >= 0) g_string_append_printf(text, "[%s]", eab_mechanism_name(axis->mechanism));
            g_string_append(text, " = ");
            print_values(text, axis);
            g_string_append_c(text, '\n');
        }
    }
    return g_string_free(text, FALSE);
}
