/* eabench tasks: the task families, their options, and what their sequences look like. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "commands.h"
#include "plan/validate.h"
#include "spec/cell_task.h"
#include "spec/options.h"
#include "spec/range.h"
#include "task_examples.h"
#include "tasks/task.h"

enum { DEFAULT_SHOWN = 5, MAX_SHOWN = 1000000, MAX_SETS = 64 };

/* What the command line asks for. */
typedef struct {
    bool help;
    int family; /* -1: list them all */
    int32_t show, context;
    int64_t seed;
    const char *sets[MAX_SETS];
    int set_count;
} tasks_request;

static const char *const flags[] = {"--show", "--set", "--context", "--seed", "--help", NULL};

static void print_usage(FILE *file) {
    fputs("usage: eabench tasks [NAME [--show N] [--set KEY=VALUE]... [--context N] [--seed N]]\n"
          "\n"
          "Lists the task families, or shows one of them: its options, its level and N example sequences (default 5)\n"
          "as training sees them. Tokens in [brackets] are free: drawn at random, or fixed marks. All others are\n"
          "determined by those before them; they alone are learned and scored.\n",
          file);
}

/* ---- arguments ----------------------------------------------------------------------------------------------- */

/* One number within the bounds of `option`. */
static int read_number(const char *where, const char *text, const eab_option *option, double *value) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    int status = option->kind == EAB_OPTION_MIXTURE ? eab_mixture_parse(text, where, values)
                                                    : eab_range_parse(option, text, where, values);
    if (!status && values->len != 1)
        status = eab_fail(EAB_BAD_INPUT, "%s: %u values; allowed: one", where, values->len);
    if (!status) *value = g_array_index(values, double, 0);
    g_array_unref(values);
    return status;
}

static int read_family(const char *name, tasks_request *request) {
    const char *names[EAB_FAMILY_COUNT + 1] = {NULL};
    char allowed[256], shown[80];
    request->family = eab_family_from_name(name);
    if (request->family >= 0) return EAB_OK;
    for (int i = 0; i < EAB_FAMILY_COUNT; i++) names[i] = eab_family_name(i);
    eab_join(names, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown task family; nearest: %s; allowed: %s",
                    eab_excerpt(name, 60, shown, sizeof shown), eab_suggest(name, names), allowed);
}

static int read_flag(const char *flag, const char *text, tasks_request *request) {
    static const eab_option show = {.kind = EAB_OPTION_INT32, .minimum = 0, .maximum = MAX_SHOWN};
    char where[128], shown[64];
    double number = 0;
    if (!text) return eab_fail(EAB_BAD_INPUT, "%s: no value behind it; allowed: %s VALUE", flag, flag);
    snprintf(where, sizeof where, "%s %s", flag, eab_excerpt(text, 40, shown, sizeof shown));
    if (strcmp(flag, "--set") == 0) {
        if (request->set_count == MAX_SETS)
            return eab_fail(EAB_BAD_INPUT, "--set: too many; allowed: at most %d", MAX_SETS);
        request->sets[request->set_count++] = text;
    } else if (strcmp(flag, "--show") == 0) {
        EAB_TRY(read_number(where, text, &show, &number));
        request->show = (int32_t)number;
    } else if (strcmp(flag, "--context") == 0) {
        EAB_TRY(read_number(where, text, eab_option_find("model", "context"), &number));
        request->context = (int32_t)number;
    } else {
        EAB_TRY(read_number(where, text, eab_option_find("train", "seed"), &number));
        request->seed = (int64_t)number;
    }
    return EAB_OK;
}

static int refuse_flag(const char *flag) {
    char shown[80], allowed[128];
    eab_join(flags, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown option; nearest: %s; allowed: %s",
                    eab_excerpt(flag, 60, shown, sizeof shown), eab_suggest(flag, flags), allowed);
}

/* Flags are written "--flag value" or "--flag=value". */
static int read_arguments(int argc, char **argv, tasks_request *request) {
    const eab_config standard = eab_config_default(0);
    char shown[80];
    *request = (tasks_request){.family = -1, .show = DEFAULT_SHOWN, .context = standard.context, .seed = standard.seed};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            if (request->family >= 0)
                return eab_fail(EAB_BAD_INPUT, "%s: a second name; allowed: one task family",
                                eab_excerpt(argv[i], 60, shown, sizeof shown));
            EAB_TRY(read_family(argv[i], request));
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            request->help = true;
            return EAB_OK;
        }
        const size_t length = strcspn(argv[i], "=");
        const char *flag = NULL;
        for (int j = 0; flags[j] && !flag; j++)
            if (strlen(flags[j]) == length && strncmp(argv[i], flags[j], length) == 0) flag = flags[j];
        if (!flag || strcmp(flag, "--help") == 0) return refuse_flag(argv[i]);
        if (argv[i][length]) EAB_TRY(read_flag(flag, argv[i] + length + 1, request));
        else {
            i++;
            EAB_TRY(read_flag(flag, i < argc ? argv[i] : NULL, request));
        }
    }
    if (request->family < 0 && request->set_count)
        return eab_fail(EAB_BAD_INPUT, "--set %s: no task family named; allowed: eabench tasks NAME --set KEY=VALUE",
                        eab_excerpt(request->sets[0], 60, shown, sizeof shown));
    return EAB_OK;
}

/* "basis=4"; "task.basis=4" and "recurrence.basis=4" as in a sweep's --set. */
static int apply_set(const tasks_request *request, const char *set, eab_config *config) {
    const char *family = eab_family_name(request->family);
    char where[128], shown[80], allowed[128];
    snprintf(where, sizeof where, "--set %s", eab_excerpt(set, 60, shown, sizeof shown));
    const char *equals = strchr(set, '=');
    if (!equals) return eab_fail(EAB_BAD_INPUT, "%s: no =; allowed: --set KEY=VALUE", where);
    const char *names[EAB_TASK_MAX_OPTIONS + 1] = {NULL};
    for (int i = 0; eab_option_of_task(request->family, i); i++) names[i] = eab_option_of_task(request->family, i)->key;

    char *name = g_strndup(set, (gsize)(equals - set));
    char *dot = strrchr(name, '.');
    const char *key = g_strstrip(dot ? dot + 1 : name);
    if (dot) *dot = '\0';
    char *full = g_strconcat("task ", family, NULL);
    const eab_option *option = eab_option_find(family, key);
    int status = EAB_OK;
    double value = 0;
    if (dot && strcmp(name, "task") != 0 && strcmp(name, family) != 0 && strcmp(name, full) != 0) {
        status = eab_fail(EAB_BAD_INPUT, "%s: not of this family; allowed: KEY=VALUE or %s.KEY=VALUE", where, family);
    } else if (!option) {
        eab_join(names, allowed, sizeof allowed);
        status = eab_fail(EAB_BAD_INPUT, "%s: unknown key; nearest: %s; allowed: %s", where, eab_suggest(key, names),
                          allowed);
    } else {
        status = read_number(where, equals + 1, option, &value);
    }
    if (!status) eab_option_set(option, config, value);
    g_free(full);
    g_free(name);
    return status;
}

/* ---- output -------------------------------------------------------------------------------------------------- */

static void print_mixture(void) {
    char allowed[128];
    printf("mixture: several levels, of one family or of several, learned by one model\n");
    for (int i = 0; eab_option_of_task(EAB_FAMILY_MIXTURE, i); i++) {
        const eab_option *option = eab_option_of_task(EAB_FAMILY_MIXTURE, i);
        eab_option_allowed(option, allowed, sizeof allowed);
        printf("  %-8s %s: %s\n", option->key, allowed, option->help);
    }
}

static void print_family(int family) {
    if (family == EAB_FAMILY_MIXTURE) {
        print_mixture();
        return;
    }
    const eab_task *task = eab_task_at(family);
    int width = 8;
    for (int i = 0; i < task->option_count; i++) width = MAX(width, (int)strlen(task->options[i].key));
    printf("%s: %s\n", task->name, task->summary);
    for (int i = 0; i < task->option_count; i++) {
        const eab_task_option *option = &task->options[i];
        char value[32], allowed[64];
        eab_option_print_value(eab_option_of_task(family, i), option->default_value, value, sizeof value);
        if (option->choices) eab_option_allowed(eab_option_of_task(family, i), allowed, sizeof allowed);
        else snprintf(allowed, sizeof allowed, "%d..%d", option->minimum, option->maximum);
        printf("  %-*s default %-6s %-10s %s\n", width, option->key, value, allowed, option->help);
    }
}

/* The level that the command line asks for; for a mixture without parts an example. */
static int choose_level(const tasks_request *request, eab_config *config) {
    char message[256], name[EAB_LEVEL_NAME_SIZE];
    *config = eab_config_default(request->family);
    config->context = request->context;
    for (int i = 0; i < request->set_count; i++) EAB_TRY(apply_set(request, request->sets[i], config));
    if (request->family == EAB_FAMILY_MIXTURE) {
        const eab_option *parts = eab_option_find("mixture", "parts");
        double number = config->mixture;
        if (!config->mixture)
            EAB_TRY(read_number("parts", "recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3)", parts, &number));
        config->mixture = (int32_t)number;
        config->level = *eab_config_part(config, 0);
        return eab_config_check(config);
    }
    const eab_task *task = eab_task_at(request->family);
    eab_level_name(&config->level, name, sizeof name);
    if (!task->check(&config->level, config->context, message, sizeof message))
        return eab_fail(EAB_BAD_INPUT, "%s %s: %s", task->name, name, message);
    return EAB_OK;
}

static int show_family(const tasks_request *request) {
    eab_config config;
    char name[EAB_LEVEL_NAME_SIZE];
    EAB_TRY(choose_level(request, &config));
    print_family(request->family);
    eab_config_level_name(&config, name, sizeof name);
    printf("\nlevel %s: %d tokens, %.4g bits of complexity, chance accuracy %.4g\n", name, eab_config_vocab(&config),
           eab_config_complexity_bits(&config), eab_config_chance_accuracy(&config));
    if (request->show == 0) return EAB_OK;
    printf("context %d, seed %lld, training stream; [free] tokens are drawn or not scored, the others are to be "
           "predicted\n\n",
           config.context, (long long)request->seed);
    return eab_task_examples_print(&config, request->show, (uint32_t)request->seed);
}

int eab_command_tasks(int argc, char **argv) {
    tasks_request request;
    int status = read_arguments(argc, argv, &request);
    if (!status && request.help) print_usage(stdout);
    else if (!status && request.family >= 0) status = show_family(&request);
    else if (!status)
        for (int i = 0; i < EAB_FAMILY_COUNT; i++) print_family(i);
    return status ? eab_command_error("tasks", status) : EAB_EXIT_DONE;
}
