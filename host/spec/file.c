/* Specs are a subset of GLib's key files. GLib's reader does not read them: it reports no line numbers, merges
 * duplicate sections and keys silently, and drops keys such as `lr[de]` that do not fit the locale.
 * tests/host/test_spec.c compares the text that is written here with GLib's reader. */
#include "file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/suggest.h"
#include "kernels/mechanism.h"
#include "mixture.h"
#include "range.h"
#include "text.h"

/* No spec of at most 1,000,000 cells has more values: the product of its axes is at least the longest one. */
enum { MAX_VALUES = 3000000, MAX_NAMES = 64, MAX_SECTION_NAME = 100, LISTED_INTEGERS = 100 };

typedef struct {
    eab_spec *spec;
    const char *path; /* fit to print */
    int line;
    eab_section *section; /* of the line; NULL before the first and in [environment] */
    bool ignored;         /* in [environment] */
    bool names_only;      /* eab_spec_read_manifest */
} spec_parser;

/* ---- sections ------------------------------------------------------------------------------------------------ */

static void clear_axis(gpointer axis) { g_array_unref(((eab_axis *)axis)->values); }

static void free_section(gpointer pointer) {
    eab_section *section = pointer;
    g_array_unref(section->axes);
    g_free(section->name);
    g_free(section);
}

static eab_section *section_at(const eab_spec *spec, guint index) { return g_ptr_array_index(spec->sections, index); }

static eab_section *find_section(const eab_spec *spec, const char *name) {
    for (guint i = 0; i < spec->sections->len; i++)
        if (strcmp(section_at(spec, i)->name, name) == 0) return section_at(spec, i);
    return NULL;
}

/* Adds a task section behind the last one of its kind, another section at the end. */
static eab_section *add_section(eab_spec *spec, const char *name, int family, int line) {
    eab_section *section = g_new0(eab_section, 1);
    section->name = g_strdup(name);
    section->options = family >= 0 ? eab_family_name(family) : section->name;
    section->family = family;
    section->line = line;
    section->axes = g_array_new(FALSE, FALSE, sizeof(eab_axis));
    g_array_set_clear_func(section->axes, clear_axis);
    guint place = spec->sections->len;
    while (family >= 0 && place > 0 && section_at(spec, place - 1)->family < 0) place--;
    g_ptr_array_insert(spec->sections, place ? (gint)place : -1, section);
    return section;
}

/* Words between single spaces. */
static void tidy_name(char *name) {
    char *to = g_strstrip(name);
    for (const char *from = to; *from; from++)
        if (!g_ascii_isspace(*from)) *to++ = *from;
        else if (!g_ascii_isspace(from[1])) *to++ = ' ';
    *to = '\0';
}

/* "task FAMILY" or "task FAMILY LABEL". */
static int read_task_name(const char *name, const char *where, int *family) {
    static const char label_characters[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS " _-+.";
    char **words = g_strsplit(name, " ", 3);
    int status = eab_family_read(words[1] ? words[1] : "", EAB_FAMILY_COUNT, where, family);
    if (!status && words[2] && words[2][strspn(words[2], label_characters)])
        status =
            eab_fail(EAB_BAD_INPUT, "%s: a label of other characters; allowed: letters, digits, space, _ - + .", where);
    g_strfreev(words);
    return status;
}

static int refuse_section(const char *name, const char *where) {
    char tasks[EAB_FAMILY_COUNT][64];
    const char *names[EAB_FAMILY_COUNT + 4] = {"model", "train", "environment"};
    for (int i = 0; i < EAB_FAMILY_COUNT; i++) {
        snprintf(tasks[i], sizeof tasks[i], "task %s", eab_family_name(i));
        names[3 + i] = tasks[i];
    }
    return eab_fail(EAB_BAD_INPUT, "%s: unknown section; nearest: %s; allowed: model, train, environment, task FAMILY",
                    where, eab_suggest(name, names));
}

static int open_section(spec_parser *parser, char *name) {
    char where[512], shown[120];
    int family = -1;
    tidy_name(name);
    snprintf(where, sizeof where, "%s:%d: [%s]", parser->path, parser->line,
             eab_excerpt(name, MAX_SECTION_NAME, shown, sizeof shown));
    parser->section = NULL;
    parser->ignored = strcmp(name, "environment") == 0;
    if (parser->ignored) return EAB_OK;

    if (strcmp(name, "task") == 0 || g_str_has_prefix(name, "task ")) EAB_TRY(read_task_name(name, where, &family));
    else if (strcmp(name, "model") != 0 && strcmp(name, "train") != 0) return refuse_section(name, where);
    if (strlen(name) > MAX_SECTION_NAME)
        return eab_fail(EAB_BAD_INPUT, "%s: too long; allowed: at most %d bytes", where, MAX_SECTION_NAME);
    const eab_section *first = find_section(parser->spec, name);
    if (first)
        return eab_fail(EAB_BAD_INPUT, "%s: the section is on line %d already; allowed: once%s", where, first->line,
                        family >= 0 ? ", or with another label" : "");
    parser->section = add_section(parser->spec, name, family, parser->line);
    return EAB_OK;
}

/* ---- axes ---------------------------------------------------------------------------------------------------- */

eab_axis *eab_section_axis(const eab_section *section, const eab_option *option, int32_t mechanism) {
    for (guint i = 0; i < section->axes->len; i++) {
        eab_axis *axis = &g_array_index(section->axes, eab_axis, i);
        if (axis->option == option && axis->mechanism == mechanism) return axis;
    }
    return NULL;
}

const eab_axis *eab_spec_mechanisms(const eab_spec *spec) {
    return eab_section_axis(find_section(spec, "train"), eab_option_find("train", "mechanism"), -1);
}

static int read_mechanism(const char *name, const char *where, eab_axis *axis) {
    const eab_option *mechanism = eab_option_find("train", "mechanism");
    char shown[64], allowed[256];
    if (axis->option == mechanism)
        return eab_fail(EAB_BAD_INPUT, "%s: the mechanism has one list for all; allowed: mechanism = ...", where);
    axis->mechanism = eab_mechanism_from_name(name);
    if (axis->mechanism >= 0) return EAB_OK;
    eab_join(mechanism->choices, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown mechanism '%s'; nearest: %s; allowed: %s", where,
                    eab_excerpt(name, 40, shown, sizeof shown), eab_suggest(name, mechanism->choices), allowed);
}

/* Sets the axis' option and mechanism from `lr`, or `lr[ea]` for the cells of that mechanism. */
static int read_axis_key(const eab_section *section, const char *key, const char *where, eab_axis *axis) {
    char *bare = g_strdup(key), *open = strchr(bare, '['), *end = bare + strlen(bare) - 1;
    const bool qualified = section->family < 0 && open && *end == ']';
    if (qualified) *open = *end = '\0';
    axis->option = eab_option_find(section->options, g_strchomp(bare));
    axis->mechanism = -1;
    int status = EAB_OK;
    if (!axis->option) status = eab_option_refuse_key(section->options, section->name, bare, where);
    else if (qualified) status = read_mechanism(g_strstrip(open + 1), where, axis);
    g_free(bare);
    return status;
}

/* Adds the axis, or its values to the one that the section has already. Takes over the values. */
static void set_axis(eab_spec *spec, eab_section *section, eab_axis axis) {
    eab_axis *present = eab_section_axis(section, axis.option, axis.mechanism);
    spec->value_count += axis.values->len;
    if (!present) {
        g_array_append_val(section->axes, axis);
        return;
    }
    spec->value_count -= present->values->len;
    g_array_unref(present->values);
    present->values = axis.values;
}

static int read_objects(eab_spec *spec, eab_option_kind kind, const char *text, const char *where, GArray *values) {
    GPtrArray *objects = kind == EAB_OPTION_FILE ? spec->texts : spec->mixtures;
    const guint first = objects->len;
    EAB_TRY((kind == EAB_OPTION_FILE ? eab_text_parse : eab_mixture_parse)(text, where, objects));
    for (guint i = first; i < objects->len; i++) {
        const double index = i;
        g_array_append_val(values, index);
    }
    return EAB_OK;
}

/* Reads the values of an axis whose option and mechanism are known. */
static int read_axis(eab_spec *spec, eab_section *section, eab_axis axis, const char *text, const char *where) {
    axis.values = g_array_new(FALSE, FALSE, sizeof(double));
    const int status = eab_option_is_number(axis.option)
                           ? eab_range_parse(axis.option, text, where, axis.values)
                           : read_objects(spec, axis.option->kind, text, where, axis.values);
    if (status) {
        g_array_unref(axis.values);
        return status;
    }
    set_axis(spec, section, axis);
    if (spec->value_count <= MAX_VALUES) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: more than %d values in all; allowed: a sweep of at most 1000000 cells", where,
                    MAX_VALUES);
}

/* ---- lines --------------------------------------------------------------------------------------------------- */

static int refuse_line(const spec_parser *parser, const char *text, const char *problem) {
    char shown[80];
    return eab_fail(EAB_BAD_INPUT, "%s:%d: %s: %s", parser->path, parser->line,
                    eab_excerpt(text, 60, shown, sizeof shown), problem);
}

/* Removes "# ..." or "; ..." behind white space, and the white space. */
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
    if (!equals) return refuse_line(parser, text, "no key and value; allowed: key = value, [section], # comment");
    *equals = '\0';
    const char *key = g_strstrip(text), *value = strip_comment(equals + 1);
    if (!parser->section)
        return refuse_line(parser, key,
                           "a key before the first section; allowed: [task ...], [model] or [train] above it");
    snprintf(where, sizeof where, "%s:%d: [%s] %s = %s", parser->path, parser->line, parser->section->name,
             eab_excerpt(key, 40, shown_key, sizeof shown_key), eab_excerpt(value, 60, shown, sizeof shown));
    eab_axis axis = {.line = parser->line};
    EAB_TRY(read_axis_key(parser->section, key, where, &axis));
    const eab_axis *first = eab_section_axis(parser->section, axis.option, axis.mechanism);
    if (first) return eab_fail(EAB_BAD_INPUT, "%s: the key is on line %d already; allowed: once", where, first->line);
    return read_axis(parser->spec, parser->section, axis, value, where);
}

static int read_line(spec_parser *parser, char *line) {
    char *text = g_strstrip(line);
    if (parser->ignored && *text != '[') return EAB_OK;
    for (const char *c = text; *c; c++)
        if (g_ascii_iscntrl(*c) && *c != '\t') return refuse_line(parser, text, "a control character; allowed: text");
    if (!*text || *text == '#' || *text == ';') return EAB_OK;
    if (*text != '[') return read_key(parser, text);
    char *end = strchr(text, ']');
    if (!end || !strchr("#;", end[1 + strspn(end + 1, " \t")])) /* strchr finds the end of a string, too */
        return refuse_line(parser, text, "no section; allowed: [section] alone on its line");
    *end = '\0';
    return open_section(parser, text + 1);
}

/* ---- --set --------------------------------------------------------------------------------------------------- */

/* `name`: a section, or "task" for all task sections. */
static int apply_to(eab_spec *spec, const char *name, const char *key, const char *value, const char *where) {
    const bool all = strcmp(name, "task") == 0;
    const char *names[MAX_NAMES] = {"task"};
    bool found = false;
    for (guint i = 0; i < spec->sections->len; i++) {
        eab_section *section = section_at(spec, i);
        if (i < MAX_NAMES - 2) names[i + 1] = section->name;
        if (all ? section->family < 0 : strcmp(section->name, name) != 0) continue;
        found = true;
        eab_axis axis = {.line = 0};
        EAB_TRY(read_axis_key(section, key, where, &axis));
        EAB_TRY(read_axis(spec, section, axis, value, where));
    }
    if (found) return EAB_OK;
    char allowed[300];
    eab_join(names, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: no such section in the spec; nearest: %s; allowed: %s", where,
                    eab_suggest(name, names), allowed);
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

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static int refuse_file(const char *path, const char *problem) {
    char shown[300];
    return eab_fail(EAB_BAD_INPUT, "%s: %s; allowed: a readable file of INI text, UTF-8, at most 1 MiB",
                    eab_excerpt(path, 250, shown, sizeof shown), problem);
}

static int check_bytes(const char *path, const char *text, size_t length) {
    if (length == 0) return refuse_file(path, "empty file");
    if (length > EAB_SPEC_MAX_BYTES) return refuse_file(path, "larger than 1 MiB");
    const char *nul = memchr(text, '\0', length), *bad = nul;
    if (!nul && g_utf8_validate(text, (gssize)length, &bad)) return EAB_OK;
    char problem[64];
    int line = 1;
    for (const char *c = text; c < bad; c++) line += *c == '\n';
    snprintf(problem, sizeof problem, "%s on line %d", nul ? "a NUL byte" : "bytes that are not UTF-8", line);
    return refuse_file(path, problem);
}

/* The options `parts` and `file` stay without a value. */
static void fill_in_defaults(eab_spec *spec) {
    if (!find_section(spec, "model")) add_section(spec, "model", -1, 0);
    if (!find_section(spec, "train")) add_section(spec, "train", -1, 0);
    for (guint i = 0; i < spec->sections->len; i++) {
        eab_section *section = section_at(spec, i);
        const eab_option *option;
        for (int j = 0; (option = eab_option_at(section->options, j)); j++) {
            if (eab_section_axis(section, option, -1)) continue;
            const eab_axis axis = {option, -1, g_array_new(FALSE, FALSE, sizeof(double)), 0};
            if (eab_option_is_number(option)) g_array_append_val(axis.values, option->default_value);
            set_axis(spec, section, axis);
        }
    }
}

static int refuse_without_value(const char *path, const eab_section *section, const eab_option *option) {
    static const char *const examples[] = {
        [EAB_OPTION_MIXTURE] = "parts; allowed: parts = recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3), for "
                               "example",
        [EAB_OPTION_FILE] = "file; allowed: file = PATH"};
    return eab_fail(EAB_BAD_INPUT, "%s:%d: [%s]: no %s", path, section->line, section->name, examples[option->kind]);
}

static int refuse_mechanism(const char *path, const eab_section *section, const eab_axis *axis,
                            const char *const *names) {
    const char *name = eab_mechanism_name(axis->mechanism);
    char allowed[256], line[16] = "";
    if (axis->line) g_snprintf(line, sizeof line, ":%d", axis->line);
    eab_join(names, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s%s: [%s] %s[%s]: the sweep's mechanisms are others; nearest: %s; allowed: %s",
                    path, line, section->name, axis->option->key, name, eab_suggest(name, names), allowed);
}

static int refuse_mix(const char *path, const eab_axis *axis) {
    char line[16] = "", of[32] = "";
    if (axis->line) g_snprintf(line, sizeof line, ":%d", axis->line);
    if (axis->mechanism >= 0) g_snprintf(of, sizeof of, "[%s]", eab_mechanism_name(axis->mechanism));
    return eab_fail(EAB_BAD_INPUT, "%s%s: [train] mix%s: only mechanism mix has it; allowed: %s", path, line, of,
                    *of ? "mix = ..., or mix[mix] = ..." : "mix among the mechanisms, or no value of mix");
}

/* Whether the list is of `mix`, for cells that are not of mechanism mix; {0} is the default of all. */
static bool is_useless_mix(const eab_axis *axis, const char *const *names) {
    if (axis->option != eab_option_find("train", "mix")) return false;
    if (axis->values->len == 1 && g_array_index(axis->values, double, 0) == 0) return false;
    return axis->mechanism >= 0 ? axis->mechanism != EAB_MECHANISM_mix : !g_strv_contains(names, "mix");
}

/* Refuses a mixture without parts, a text without a file, and a list for a mechanism that the sweep does not have. */
static int check_axes(const eab_spec *spec, const char *path) {
    const GArray *listed = eab_spec_mechanisms(spec)->values;
    const char *names[EAB_MECHANISM_COUNT + 1] = {NULL};
    for (guint i = 0, count = 0; i < listed->len; i++) {
        const char *name = eab_mechanism_name((int32_t)g_array_index(listed, double, i));
        if (!g_strv_contains(names, name)) names[count++] = name;
    }
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = section_at(spec, i);
        for (guint j = 0; j < section->axes->len; j++) {
            const eab_axis *axis = &g_array_index(section->axes, eab_axis, j);
            if (!axis->values->len) return refuse_without_value(path, section, axis->option);
            if (axis->mechanism >= 0 && !g_strv_contains(names, eab_mechanism_name(axis->mechanism)))
                return refuse_mechanism(path, section, axis, names);
            if (is_useless_mix(axis, names)) return refuse_mix(path, axis);
        }
    }
    return EAB_OK;
}

/* Reads the files of the final values: --set may replace one that is not there. Those with a digest are optional if
 * only the cells' names are wanted. */
static int load_texts(const eab_spec *spec, const char *path, bool names_only) {
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = section_at(spec, i);
        const eab_axis *axis = eab_section_axis(section, eab_option_find("text", "file"), -1);
        for (guint j = 0; axis && j < axis->values->len; j++) {
            eab_text *text = g_ptr_array_index(spec->texts, (guint)g_array_index(axis->values, double, j));
            char where[512], line[16] = "", shown[200];
            if (axis->line) g_snprintf(line, sizeof line, ":%d", axis->line);
            g_snprintf(where, sizeof where, "%s%s: [%s] file = %s", path, line, section->name,
                       eab_excerpt(text->path, 150, shown, sizeof shown));
            const int status = eab_text_load(text, where);
            if (status && !(names_only && *text->sha256)) return status;
            if (status) eab_text_stand_in(text);
        }
    }
    return EAB_OK;
}

static int read_lines(spec_parser *parser, const char *text) {
    static const char byte_order_mark[] = "\xEF\xBB\xBF";
    if (g_str_has_prefix(text, byte_order_mark)) text += strlen(byte_order_mark);
    char **lines = g_strsplit(text, "\n", -1);
    int status = EAB_OK;
    for (int i = 0; lines[i] && !status; i++) {
        parser->line = i + 1;
        status = read_line(parser, lines[i]);
    }
    g_strfreev(lines);
    if (status) return status;
    for (guint i = 0; i < parser->spec->sections->len; i++)
        if (section_at(parser->spec, i)->family >= 0) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: no task section; allowed: at least one, such as [task %s]", parser->path,
                    eab_family_name(0));
}

static int read_spec(spec_parser *parser, const char *text, const char *const *sets) {
    EAB_TRY(read_lines(parser, text));
    fill_in_defaults(parser->spec);
    for (; sets && *sets; sets++) EAB_TRY(apply_set(parser->spec, *sets));
    EAB_TRY(check_axes(parser->spec, parser->path));
    return load_texts(parser->spec, parser->path, parser->names_only);
}

static int parse(const char *path, const char *text, size_t length, const char *const *sets, bool names_only,
                 eab_spec *spec) {
    char shown[300];
    spec_parser parser = {.spec = spec, .path = eab_excerpt(path, 250, shown, sizeof shown), .names_only = names_only};
    *spec = (eab_spec){.sections = g_ptr_array_new_with_free_func(free_section),
                       .mixtures = g_ptr_array_new_with_free_func(g_free),
                       .texts = g_ptr_array_new_with_free_func(eab_text_free)};
    int status = check_bytes(path, text, length);
    if (!status) status = read_spec(&parser, text, sets);
    if (status) eab_spec_free(spec);
    return status;
}

int eab_spec_parse(const char *path, const char *text, size_t length, const char *const *sets, eab_spec *spec) {
    return parse(path, text, length, sets, false, spec);
}

bool eab_spec_is_stream(const char *path) {
    struct stat info;
    return strcmp(path, "-") == 0 || strcmp(path, "/dev/stdin") == 0 || g_str_has_prefix(path, "/dev/fd/") ||
           g_str_has_prefix(path, "/proc/") || (stat(path, &info) == 0 && !S_ISREG(info.st_mode));
}

static int read_file(const char *path, const char *const *sets, bool names_only, eab_spec *spec) {
    const bool standard_input = strcmp(path, "-") == 0;
    struct stat info;
    *spec = (eab_spec){.value_count = 0};
    if (!standard_input && stat(path, &info)) return refuse_file(path, g_strerror(errno));
    if (!standard_input && S_ISDIR(info.st_mode)) return refuse_file(path, "a directory");
    FILE *file = standard_input ? stdin : fopen(path, "rbe");
    if (!file) return refuse_file(path, g_strerror(errno));
    /* One byte more than allowed is read, because a file may grow or hide its size (/proc, a pipe). */
    char *text = g_malloc(EAB_SPEC_MAX_BYTES + 2);
    const size_t length = fread(text, 1, EAB_SPEC_MAX_BYTES + 1, file);
    text[length] = '\0';
    const int status =
        ferror(file) ? refuse_file(path, g_strerror(errno)) : parse(path, text, length, sets, names_only, spec);
    if (!standard_input) fclose(file);
    g_free(text);
    return status;
}

int eab_spec_read(const char *path, const char *const *sets, eab_spec *spec) {
    return read_file(path, sets, false, spec);
}

int eab_spec_read_manifest(const char *path, eab_spec *spec) { return read_file(path, NULL, true, spec); }

void eab_spec_free(eab_spec *spec) {
    g_clear_pointer(&spec->sections, g_ptr_array_unref);
    g_clear_pointer(&spec->mixtures, g_ptr_array_unref);
    g_clear_pointer(&spec->texts, g_ptr_array_unref);
    spec->value_count = 0;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static bool is_long_range(const eab_option *option, const double *values, guint count) {
    if (option->kind != EAB_OPTION_INT32 && option->kind != EAB_OPTION_INT64) return false;
    if (count <= LISTED_INTEGERS || values[1] <= values[0]) return false;
    for (guint i = 2; i < count; i++)
        if (values[i] - values[i - 1] != values[1] - values[0]) return false;
    return true;
}

static void print_values(GString *text, const eab_spec *spec, const eab_axis *axis) {
    const double *values = (const double *)(const void *)axis->values->data;
    const guint count = axis->values->len;
    if (is_long_range(axis->option, values, count)) {
        g_string_append_printf(text, "%.0f:%.0f:+%.0f", values[0], values[count - 1], values[1] - values[0]);
        return;
    }
    for (guint i = 0; i < count; i++) {
        char value[EAB_OPTION_TEXT_SIZE];
        g_string_append(text, i ? ", " : "");
        if (axis->option->kind == EAB_OPTION_FILE) {
            char *file = eab_text_print(g_ptr_array_index(spec->texts, (guint)values[i]));
            g_string_append(text, file);
            g_free(file);
        } else if (axis->option->kind == EAB_OPTION_MIXTURE) {
            g_string_append(text, ((eab_mixture *)g_ptr_array_index(spec->mixtures, (guint)values[i]))->text);
        } else {
            eab_option_print_value(axis->option, values[i], value, sizeof value);
            g_string_append(text, value);
        }
    }
}

char *eab_spec_print(const eab_spec *spec) {
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = section_at(spec, i);
        g_string_append_printf(text, "%s[%s]\n", i ? "\n" : "", section->name);
        for (guint j = 0; j < section->axes->len; j++) {
            const eab_axis *axis = &g_array_index(section->axes, eab_axis, j);
            g_string_append(text, axis->option->key);
            if (axis->mechanism >= 0) g_string_append_printf(text, "[%s]", eab_mechanism_name(axis->mechanism));
            g_string_append(text, " = ");
            print_values(text, spec, axis);
            g_string_append_c(text, '\n');
        }
    }
    return g_string_free(text, FALSE);
}
