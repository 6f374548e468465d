/* eabench tasks: the task families, their options, and what their sequences look like. */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "base/suggest.h"
#include "plan/cells.h"
#include "spec/cell_task.h"
#include "tasks/task.h"

enum { DEFAULT_SHOWN = 5, MAX_SHOWN = 1000000 };

typedef struct {
    char **names, **sets, *context, *seed;
    gint64 show;
} arguments;

/* Returns an exit code, or -1 to continue. */
static int parse(arguments *a, int argc, char **argv) {
    const GOptionEntry entries[] = {
        {"show", 0, 0, G_OPTION_ARG_INT64, &a->show, "how many sequences (default: 5)", "N"},
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->sets, "an option of the family; may be repeated", "KEY=VALUE"},
        {"context", 0, 0, G_OPTION_ARG_FILENAME, &a->context, "input positions, as --set model.context=N of a sweep",
         "N"},
        {"seed", 0, 0, G_OPTION_ARG_FILENAME, &a->seed, "of the draws, as --set train.seed=N of a sweep", "N"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->names, NULL, "[NAME]"},
        {0},
    };
    return eab_command_parse(
        "tasks", "- the task families and example sequences",
        "Without NAME all families are listed; with it, its options, its level and sequences as training has\n"
        "them. Tokens in [brackets] are free: drawn at random, or fixed. All others are determined by those\n"
        "before them; only these are learned and scored.",
        entries, argc, argv);
}

/* The sweep's --set that "basis=4", "task.basis=4" or "recurrence.basis=4" stands for. */
static int read_set(const char *family, const char *set, GPtrArray *sets) {
    char shown[80];
    const size_t length = strcspn(set, ".=");
    const bool has_section = set[length] == '.';
    const bool is_family = has_section && strlen(family) == length && strncmp(set, family, length) == 0;
    if (has_section && !is_family && !g_str_has_prefix(set, "task"))
        return eab_fail(EAB_BAD_INPUT, "--set %s: not of this family; allowed: KEY=VALUE or %s.KEY=VALUE",
                        eab_excerpt(set, 60, shown, sizeof shown), family);
    if (has_section && !is_family) g_ptr_array_add(sets, g_strdup(set));
    else g_ptr_array_add(sets, g_strconcat("task.", is_family ? set + length + 1 : set, NULL));
    return EAB_OK;
}

/* A plan with one cell, which has the level that the command line asks for. */
static int make_plan(const arguments *a, int family, eab_plan *plan) {
    GPtrArray *sets = g_ptr_array_new_with_free_func(g_free);
    int status = EAB_OK;
    g_ptr_array_add(sets, g_strdup("train.batch=1"));
    if (family == EAB_FAMILY_MIXTURE)
        g_ptr_array_add(sets, g_strdup("task.parts=recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3)"));
    if (a->context) g_ptr_array_add(sets, g_strconcat("model.context=", a->context, NULL));
    if (a->seed) g_ptr_array_add(sets, g_strconcat("train.seed=", a->seed, NULL));
    for (char **set = a->sets; set && *set && !status; set++) status = read_set(eab_family_name(family), *set, sets);
    g_ptr_array_add(sets, NULL);
    if (!status) status = eab_plan_of_task(eab_family_name(family), (const char *const *)sets->pdata, plan);
    g_ptr_array_unref(sets);
    if (status || plan->count == 1) return status;
    status = eab_fail(EAB_BAD_INPUT, "--set: %lld levels or seeds; allowed: one value for each option",
                      (long long)plan->count);
    eab_plan_free(plan);
    return status;
}

static void print_family(int family) {
    const bool is_mixture = family == EAB_FAMILY_MIXTURE;
    const char *name = eab_family_name(family);
    const eab_option *option;
    int width = 8;
    for (int i = 0; (option = eab_option_at(name, i)); i++) width = MAX(width, (int)strlen(option->key));
    printf("%s: %s\n", name,
           is_mixture ? "several levels, of one family or of several, learned by one model"
                      : eab_task_at(family)->summary);
    for (int i = 0; (option = eab_option_at(name, i)); i++) {
        char value[EAB_OPTION_TEXT_SIZE], allowed[128];
        eab_option_allowed(option, allowed, sizeof allowed);
        if (is_mixture || !eab_option_is_number(option)) {
            printf("  %-*s %s: %s\n", width, option->key, allowed, option->help);
            continue;
        }
        eab_option_print_value(option, option->default_value, value, sizeof value);
        printf("  %-*s default %-6s %-10s %s\n", width, option->key, value,
               allowed + (g_str_has_prefix(allowed, "an integer ") ? strlen("an integer ") : 0), option->help);
    }
}

/* The length of the longest name of a token; task tokens of a mixture are numbers. */
static int token_width(const eab_config *config) {
    char name[32];
    int width = 1;
    if (eab_config_cue_token(config) >= 0) width = snprintf(name, sizeof name, "%d", eab_config_vocab(config) - 1);
    for (int32_t part = 0; part < eab_config_part_count(config); part++) {
        const eab_level *level = eab_config_part(config, part);
        for (int32_t token = 0; token < eab_task_at(level->family)->vocab(level); token++) {
            eab_token_name(level, token, name, sizeof name);
            width = MAX(width, (int)strlen(name));
        }
    }
    return width;
}

/* Prints the first training sequences: free tokens in brackets, bold on a terminal, and all of the same width. */
static void print_examples(const eab_config *config, int32_t count, uint32_t seed) {
    const int32_t length = config->context + 1;
    const int width = token_width(config);
    const bool terminal = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    int32_t *tokens = g_new(int32_t, length);
    uint8_t *determined = g_new(uint8_t, length);
    eab_level levels[EAB_MAX_PARTS];
    uint8_t held_out[EAB_MAX_PARTS];
    const eab_parts parts = eab_config_list_parts(config, 0, levels, held_out);
    for (int32_t i = 0; i < count && !ferror(stdout); i++) {
        eab_parts_generate(levels, held_out, parts, 0, seed, EAB_STREAM_TRAINING, (uint64_t)i, length, tokens,
                           determined);
        for (int32_t t = 0; t < length; t++) {
            char token[32];
            if (t == 0 && parts.cue >= 0) snprintf(token, sizeof token, "%d", tokens[t]);
            else eab_token_name(&levels[i % parts.count], tokens[t], token, sizeof token);
            if (determined[t]) printf(" %*s ", width, token);
            else printf("%s[%*s]%s", terminal ? "\033[1;36m" : "", width, token, terminal ? "\033[0m" : "");
        }
        putchar('\n');
    }
    g_free(tokens);
    g_free(determined);
}

static int show_family(const arguments *a, int family) {
    char name[EAB_LEVEL_NAME_SIZE];
    eab_plan plan;
    if (family == EAB_TASK_TEXT && !a->sets && !a->context && !a->seed) { /* it has no level without a file */
        print_family(family);
        puts("\nFor a level and sequences of a file: eabench tasks text --set file=PATH");
        return EAB_OK;
    }
    EAB_TRY(make_plan(a, family, &plan));
    const eab_config *config = &plan.cells[0].config;
    print_family(family);
    eab_config_level_name(config, name, sizeof name);
    printf("\nlevel %s: %d tokens, %.4g bits of complexity, chance accuracy %.4g\n", name, eab_config_vocab(config),
           eab_config_complexity_bits(config), eab_config_chance_accuracy(config));
    if (a->show > 0) {
        printf("context %d, seed %lld, training stream; [free] tokens are drawn or not scored, the others are to be "
               "predicted\n\n",
               config->context, (long long)config->seed);
        print_examples(config, (int32_t)a->show, (uint32_t)config->seed);
    }
    eab_plan_free(&plan);
    return EAB_OK;
}

static int run_tasks(const arguments *a) {
    char shown[80];
    int family;
    if (a->show < 0 || a->show > MAX_SHOWN)
        return eab_fail(EAB_BAD_INPUT, "--show %lld: out of bounds; allowed: 0..%d", (long long)a->show, MAX_SHOWN);
    if (a->names && a->names[1])
        return eab_fail(EAB_BAD_INPUT, "%s: a second name; allowed: one task family",
                        eab_excerpt(a->names[1], 60, shown, sizeof shown));
    if (a->names) {
        EAB_TRY(eab_family_read(a->names[0], EAB_FAMILY_COUNT, "NAME", &family));
        return show_family(a, family);
    }
    if (a->sets)
        return eab_fail(EAB_BAD_INPUT, "--set %s: no task family named; allowed: eabench tasks NAME --set KEY=VALUE",
                        eab_excerpt(a->sets[0], 60, shown, sizeof shown));
    for (family = 0; family < EAB_FAMILY_COUNT; family++) print_family(family);
    return EAB_OK;
}

int eab_command_tasks(int argc, char **argv) {
    arguments a = {.show = DEFAULT_SHOWN};
    int code = parse(&a, argc, argv);
    if (code < 0) {
        const int status = run_tasks(&a);
        code = status ? eab_command_error("tasks", status) : EAB_EXIT_DONE;
    }
    g_strfreev(a.names);
    g_strfreev(a.sets);
    g_free(a.context);
    g_free(a.seed);
    return code;
}
