#include <glib.h>

#include "default_config.h"
#include "host/spec/identity.h"
#include "spec_text.h"
#include "tasks/task.h"

static void load(const char *text, const char *const *sets, eab_plan *plan) {
    char error[1024];
    cr_assert_eq(load_text(text, sets, plan, error), EAB_OK, "%s: %s", text, error);
}

/* "basis-delay-lr-seed" of each cell, in the plan's order. */
static void print_cells(const eab_plan *plan, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < plan->count && used < size; i++) {
        const eab_config *config = &plan->cells[i].config;
        used += (size_t)snprintf(text + used, size - used, "%s%d-%d-%g-%d", i ? " " : "", config->level.option[0],
                                 config->level.option[1], config->lr, (int)config->seed);
    }
}

static void expect_cells(const char *text, const char *expected) {
    eab_plan plan;
    char cells[1024];
    load(text, NULL, &plan);
    print_cells(&plan, cells, sizeof cells);
    cr_expect_str_eq(cells, expected, "%s\ngot %s", text, cells);
    eab_plan_free(&plan);
}

Test(plan, the_last_axis_runs_fastest) {
    expect_cells("[task recurrence]\n", "8-4-0.01-1");
    expect_cells("[task recurrence]\nbasis = 4, 8\ndelay = 2, 3\n[train]\nseed = 1:2\n",
                 "4-2-0.01-1 4-2-0.01-2 4-3-0.01-1 4-3-0.01-2 8-2-0.01-1 8-2-0.01-2 8-3-0.01-1 8-3-0.01-2");
    expect_cells("[task recurrence]\ndelay = 2, 3\nbasis = 4, 8\n", "4-2-0.01-1 8-2-0.01-1 4-3-0.01-1 8-3-0.01-1");
    expect_cells("[train]\nseed = 2, 1\nlr = 1, 2\n[task recurrence]\nbasis = 4, 8\n",
                 "4-4-1-2 8-4-1-2 4-4-2-2 8-4-2-2 4-4-1-1 8-4-1-1 4-4-2-1 8-4-2-1");
}

Test(plan, task_sections_add_up) {
    expect_cells(
        "[task recurrence low]\nbasis = 4, 8\ndelay = 3, 4\n[task recurrence high]\nbasis = 16\ndelay = 4:8:+2\n",
        "4-3-0.01-1 4-4-0.01-1 8-3-0.01-1 8-4-0.01-1 16-4-0.01-1 16-6-0.01-1 16-8-0.01-1");
    /* at the place of the first task section */
    expect_cells("[task recurrence x]\nbasis = 4\n[train]\nseed = 1, 2\n[task recurrence y]\nbasis = 5\n",
                 "4-4-0.01-1 4-4-0.01-2 5-4-0.01-1 5-4-0.01-2");
}

/* "mechanism-lr-seed" of each cell. */
static void expect_rates(const char *text, const char *const *sets, const char *expected) {
    eab_plan plan;
    char cells[1024] = "";
    load(text, sets, &plan);
    for (int64_t i = 0; i < plan.count; i++) {
        const eab_config *config = &plan.cells[i].config;
        const size_t used = strlen(cells);
        snprintf(cells + used, sizeof cells - used, "%s%s-%g-%d", i ? " " : "", eab_mechanism_name(config->mechanism),
                 config->lr, (int)config->seed);
    }
    cr_expect_str_eq(cells, expected, "%s\ngot %s", text, cells);
    eab_plan_free(&plan);
}

Test(plan, lists_for_a_mechanism) {
    expect_rates("[task recurrence]\n[train]\nmechanism = dpa, ea\nlr[ea] = 2, 4\nlr[dpa] = 1\nseed = 1:2\n", NULL,
                 "dpa-1-1 dpa-1-2 ea-2-1 ea-2-2 ea-4-1 ea-4-2");
    /* in any order; a key without brackets applies to mechanisms without a list */
    expect_rates("[task recurrence]\n[train]\nlr[ea] = 2, 4\nmechanism = dpa, ea, ea-scaled\nlr = 1, 3\n", NULL,
                 "dpa-1-1 ea-2-1 ea-scaled-1-1 dpa-3-1 ea-4-1 ea-scaled-3-1");
    expect_rates("[task recurrence]\n[train]\nmechanism = ea, dpa\nlr[ea] = 2\n", NULL, "ea-2-1 dpa-0.01-1");
    expect_rates("[task recurrence]\n[train]\nmechanism = ea\nlr[ea] = 2, 4\n", NULL, "ea-2-1 ea-4-1");
    const char *const sets[] = {"train.lr[ea]=5,6", "train.mechanism=dpa,ea", "train.lr=1", NULL};
    expect_rates("[task recurrence]\n[train]\nlr[ea] = 2\nmechanism = ea\n", sets, "dpa-1-1 ea-5-1 ea-6-1");
    /* an axis of another section, which only one mechanism has */
    expect_rates("[task recurrence]\n[model]\nqk_init[ea] = 0.5, 1\n[train]\nmechanism = dpa, ea\n", NULL,
                 "dpa-0.01-1 ea-0.01-1 ea-0.01-1");
}

Test(plan, lists_for_a_mechanism_give_the_same_cells) {
    eab_plan plain, lists;
    load("[task recurrence]\n[train]\nmechanism = dpa, ea\nlr = 1, 2\nseed = 1:3\n", NULL, &plain);
    load("[task recurrence]\n[train]\nmechanism = dpa, ea\nlr[dpa] = 1, 2\nlr[ea] = 1, 2\nseed = 1:3\n", NULL, &lists);
    cr_assert_eq(plain.count, 12);
    cr_assert_eq(lists.count, 12);
    for (int i = 0; i < 12; i++) cr_expect_str_eq(plain.cells[i].id, lists.cells[i].id, "cell %d", i);
    eab_plan_free(&plain);
    eab_plan_free(&lists);
}

Test(plan, lists_for_a_mechanism_are_counted) {
    eab_plan plan;
    char error[1024];
    load("[task recurrence]\n[train]\nmechanism = dpa, ea, dpa\nlr[ea] = 2, 4\nseed = 1:5\n", NULL, &plan);
    cr_expect_eq(plan.count, 15);
    cr_expect_eq(plan.duplicates, 5);
    eab_plan_free(&plan);
    /* the product of each mechanism is small; that of all lists would be 10^12 */
    load("[task recurrence]\n[model]\nqk_init[ea] = 0.1:100:+0.1\n[train]\nmechanism = dpa, ea\nseed[dpa] = 1:1000\n"
         "warmup[ea-scaled] = 1:1000\neval_every[ea-softmax] = 1:1000\n",
         (const char *const[]){"train.mechanism=dpa,ea,ea-scaled,ea-softmax", NULL}, &plan);
    cr_expect_eq(plan.count, 4000);
    eab_plan_free(&plan);
    cr_expect_eq(
        load_text("[task recurrence]\n[train]\nmechanism = dpa, ea\nseed[ea] = 1:1000000\n", NULL, &plan, error),
        EAB_BAD_INPUT);
    cr_expect_str_eq(
        error, "SPEC: too many cells: the products of all mechanisms together = 1000001; allowed: at most 1000000",
        "got %s", error);
}

Test(plan, duplicates_are_left_out) {
    eab_plan plan;
    load("[task recurrence x]\nbasis = 4, 8, 4\n[task recurrence y]\nbasis = 8, 16\n[train]\nseed = 1, 1, 2\n", NULL,
         &plan);
    cr_expect_eq(plan.count, 6);
    cr_expect_eq(plan.duplicates, 9); /* of 5 levels and 3 seeds */
    char cells[512];
    print_cells(&plan, cells, sizeof cells);
    cr_expect_str_eq(cells, "4-4-0.01-1 4-4-0.01-2 8-4-0.01-1 8-4-0.01-2 16-4-0.01-1 16-4-0.01-2");
    eab_plan_free(&plan);
}

Test(plan, ids_do_not_depend_on_the_spelling) {
    static const char *const texts[] = {
        "[task recurrence]\ndelay = 3\n[train]\nlr = 0.02\nseed = 2\n",
        "[train]\nseed = 2\nlr = 2e-2\n[task recurrence label]\ndelay = 3\nbasis = 8\n",
        "[model]\nlayers = 1\n[train]\nlr = .02\nscale = auto\nseed = 2:2\n[task recurrence]\na = 1\ndelay = 3\n",
    };
    char id[17] = "";
    for (int i = 0; i < 3; i++) {
        eab_plan plan;
        load(texts[i], NULL, &plan);
        cr_assert_eq(plan.count, 1);
        if (i) cr_expect_str_eq(plan.cells[0].id, id);
        memcpy(id, plan.cells[0].id, sizeof id);
        eab_plan_free(&plan);
    }
}

static void expect_same_plan(const eab_plan *a, const eab_plan *b) {
    cr_assert_eq(a->count, b->count);
    cr_expect_eq(a->duplicates, b->duplicates);
    cr_expect_str_eq(a->resolved, b->resolved);
    for (int64_t i = 0; i < a->count; i++) cr_expect_str_eq(a->cells[i].id, b->cells[i].id, "cell %d", (int)i);
}

/* A manifest begins with the resolved spec and must be a spec with the same cells. */
static void expect_round_trip(const char *text, const char *const *sets) {
    eab_plan plan, again, manifest;
    load(text, sets, &plan);
    load(plan.resolved, NULL, &again);
    expect_same_plan(&plan, &again);
    char *with_environment =
        g_strconcat(plan.resolved, "\n[environment]\nversion = 1.2\ncpu = \xc3\xa9 = [x\nlr = ?\n", NULL);
    load(with_environment, NULL, &manifest);
    expect_same_plan(&plan, &manifest);
    g_free(with_environment);
    eab_plan_free(&plan);
    eab_plan_free(&again);
    eab_plan_free(&manifest);
}

Test(plan, resolved_runs_again) {
    const char *const sets[] = {"train.lr=1e-3:1:*3.3", "model.d_model=16:64:*2",
                                "task.a=1,0",           "train.scale=auto,0.123456789012345678",
                                "train.warmup=0:150",   NULL};
    const char *const long_axis[] = {"train.seed=7:20000:+3", NULL};
    expect_round_trip("[task recurrence]\n", NULL);
    expect_round_trip("[task recurrence]\n", sets);
    expect_round_trip("[task recurrence]\n", long_axis);
    expect_round_trip(
        "[train]\nseed = 2, 1, 2\nlr = 1, 2\n[task recurrence b]\nbasis = 4, 8\n[model]\nnorm = none, layer\n"
        "[task recurrence a.c-d e]\ndelay = 2, 1\nbasis = 8\n",
        NULL);
    expect_round_trip("[task recurrence]\n[train]\nlr = 0.01:1:+0.01\n", sets + 1);
    expect_round_trip("[task recurrence]\n[train]\nlr[ea] = 1, 2\nmechanism = dpa, ea\nlr[dpa] = 3\nseed = 1, 2\n",
                      sets);
    expect_round_trip("[task recurrence]\n[model]\nqk_norm[ea] = on, off\n[train]\nmechanism = dpa, ea\n", NULL);
}

Test(plan, resolved_has_every_option) {
    eab_plan plan;
    load("[task recurrence]\nbasis = 4:6\n", NULL, &plan);
    cr_expect(strstr(plan.resolved, "[task recurrence]\nbasis = 4, 5, 6\ndelay = 4\na = 1\nb = 1\n"
                                    "rule = linear\ntable_seed = 0\n\n[model]\nlayers = 1\n"));
    for (int i = 0; i < eab_option_count; i++) {
        char line[80], value[40];
        eab_option_print_value(&eab_options[i], eab_options[i].default_value, value, sizeof value);
        snprintf(line, sizeof line, "\n%s = %s\n", eab_options[i].key, value);
        cr_expect(strstr(plan.resolved, line), "%s", line);
    }
    eab_plan_free(&plan);
}

Test(plan, limits) {
    const char *const most[] = {"train.seed=1:1000000", NULL}, *const more[] = {"train.seed=0:1000000", NULL};
    const char *const product[] = {"train.seed=1:1000", "train.warmup=0:1000", NULL},
                      *const overflow[] = {"train.seed=1:1000000", "train.warmup=1:1000000",
                                           "train.eval_every=1:1000000", NULL},
                      *const listed[] = {"train.lr=1e-5:1:+1e-5", NULL};
    eab_plan plan;
    char error[1024];
    load("[task recurrence]\n", most, &plan);
    cr_expect_eq(plan.count, 1000000);
    eab_plan_free(&plan);
    cr_expect_eq(load_text("[task recurrence]\n", more, &plan, error), EAB_BAD_INPUT);
    cr_expect_eq(load_text("[task recurrence]\n", product, &plan, error), EAB_BAD_INPUT);
    cr_expect_str_eq(error,
                     "SPEC: too many cells: 1 level * 1001 warmup * 1000 seed = 1001000; allowed: at most 1000000",
                     "got %s", error);
    cr_expect_eq(load_text("[task recurrence]\n", overflow, &plan, error), EAB_BAD_INPUT);
    cr_expect(strstr(error, "too many cells") || strstr(error, "more than 3000000 values"), "got %s", error);
    cr_expect_eq(load_text("[task recurrence]\n", listed, &plan, error), EAB_BAD_INPUT);
    cr_expect(strstr(error, "written out, the lists of values take"), "got %s", error);
}

Test(plan, many_wide_sections_are_refused_early) {
    char *text = calloc(1, 1 << 20);
    size_t used = 0;
    for (int i = 0; i < 20000; i++) used += (size_t)sprintf(text + used, "[task recurrence %d]\ndelay = 1:65535\n", i);
    eab_plan plan;
    char error[1024];
    cr_expect_eq(load_text(text, NULL, &plan, error), EAB_BAD_INPUT);
    cr_expect(strstr(error, "more than 3000000 values in all"), "got %s", error);
    free(text);
}

Test(plan, names) {
    eab_plan plan;
    cr_assert_eq(eab_plan_load("tasks/ladders/quick.ini", NULL, &plan), EAB_OK, "%s", eab_last_error());
    cr_expect_str_eq(plan.name, "quick");
    eab_plan_free(&plan);
}

Test(plan, quick_ladder_has_its_cells) {
    static const int levels[6][2] = {{8, 2}, {4, 3}, {4, 4}, {8, 4}, {16, 4}, {16, 6}};
    eab_plan plan;
    cr_assert_eq(eab_plan_load("tasks/ladders/quick.ini", NULL, &plan), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(plan.count, 72);
    cr_expect_eq(plan.duplicates, 0);
    eab_config expected = default_config(0);
    expected.alibi_span = 4;
    for (int i = 0; i < 72; i++) {
        static const char *const mechanisms[] = {"dpa", "ea", "ea-scaled"};
        char id[17];
        expected.level.option[0] = levels[i / 12][0];
        expected.level.option[1] = levels[i / 12][1];
        expected.mechanism = eab_mechanism_from_name(mechanisms[i / 4 % 3]);
        expected.lr = i / 2 % 2 ? 2e-2 : 1e-2;
        expected.seed = 1 + i % 2;
        eab_config_id(&expected, id);
        cr_expect_str_eq(plan.cells[i].id, id, "cell %d", i);
    }
    eab_plan_free(&plan);
}

/* Several threads print the identities of a large plan; each reuses the lines of the cell before. */
Test(plan, ids_of_many_cells_are_those_of_single_ones) {
    static const char *const text =
        "[task recurrence]\nbasis = 2, 4, 2\n[task mixture]\nparts = recurrence(basis=8) + parity, recurrence + "
        "recurrence(delay=2)\n[task parity]\n[model]\nd_model = 16, 32\ncontext = 12, 24\n[train]\nlr = 1e-3, 1e-2\n"
        "mechanism = dpa, ea\nseed = 1:500\n";
    eab_plan plan;
    char error[1024];
    cr_assert_eq(load_text(text, NULL, &plan, error), EAB_OK, "%s", error);
    cr_expect_eq(plan.count, 5 * 16 * 500, "%lld", (long long)plan.count);
    cr_expect_eq(plan.duplicates, 16 * 500, "%lld", (long long)plan.duplicates);
    for (int64_t i = 0; i < plan.count; i += i < 1500 || i > plan.count - 1500 ? 1 : 97) {
        char id[17];
        eab_config_id(&plan.cells[i].config, id);
        cr_assert_str_eq(plan.cells[i].id, id, "cell %lld", (long long)i);
        cr_assert_eq(eab_plan_find(&plan, id), i);
    }
    eab_plan_free(&plan);
}

Test(plan, study_ladders_load) {
    static const struct {
        const char *path;
        int64_t cells;
    } studies[] = {{"tasks/ladders/study-scale.ini", 480},
                   {"tasks/ladders/study-wide.ini", 150},
                   {"tasks/ladders/study-rate.ini", 600}};
    for (size_t i = 0; i < sizeof studies / sizeof *studies; i++) {
        eab_plan plan;
        cr_assert_eq(eab_plan_load(studies[i].path, NULL, &plan), EAB_OK, "%s", eab_last_error());
        cr_expect_eq(plan.count, studies[i].cells, "%s: %lld cells", studies[i].path, (long long)plan.count);
        cr_expect_eq(plan.duplicates, 0);
        eab_plan_free(&plan);
    }
}

Test(plan, ci_ladder_loads) {
    eab_plan plan;
    cr_assert_eq(eab_plan_load("tasks/ladders/ci.ini", NULL, &plan), EAB_OK, "%s", eab_last_error());
    cr_expect_eq(plan.count, 12);
    cr_expect(eab_cell_flop(&plan.cells[0].config) > 1e9);
    eab_plan_free(&plan);
}
