#include "host/sweep/search.h"

#include <glib.h>

#include "spec_text.h"

enum { MAX_CELLS = 4096 };

static eab_plan plan;
static eab_search *search;
static bool trained_before[MAX_CELLS];

static void setup(const char *text) {
    char error[1024];
    cr_assert_eq(load_text(text, NULL, &plan, error), EAB_OK, "%s", error);
    cr_assert_leq(plan.count, MAX_CELLS);
    search = eab_search_new(&plan);
}

static void forget(void) {
    memset(trained_before, 0, sizeof trained_before);
    for (int64_t i = 0; i < plan.count; i++) eab_search_set(search, i, EAB_SEARCH_UNKNOWN);
}

static void teardown(void) {
    eab_search_free(search);
    eab_plan_free(&plan);
}

/* A simulated truth: whether the cell solves its level. */
typedef bool (*truth)(const eab_config *config, guint32 salt);

/* Trains the cells that the search wants, until it wants none; returns how many. No cell is wanted twice. */
static int64_t run(truth solves, guint32 salt) {
    int64_t wanted[MAX_CELLS], trained = 0, count;
    while ((count = eab_search_next(search, wanted)) > 0) {
        for (int64_t i = 0; i < count; i++) {
            cr_assert(wanted[i] >= 0 && wanted[i] < plan.count);
            cr_assert_not(trained_before[wanted[i]], "cell %lld is wanted twice", (long long)wanted[i]);
            trained_before[wanted[i]] = true;
            eab_search_set(search, wanted[i],
                           solves(&plan.cells[wanted[i]].config, salt) ? EAB_SEARCH_SOLVED : EAB_SEARCH_UNSOLVED);
        }
        trained += count;
    }
    return trained;
}

static char *printed(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    eab_search_print(file, search);
    fclose(file);
    return text;
}

static const char *ladder = "[task recurrence]\nbasis = 4\ndelay = 2:17\n[model]\ncontext = 40\n"
                            "[train]\nmechanism = dpa, ea\nlr = 1e-2, 2e-2, 4e-2\nseed = 1:4\n";

static int32_t delay_of(const eab_config *config) { return config->level.option[1]; }

/* dpa (0) solves up to delay 6, ea up to 11: at the middle rate, and only with seeds 1 and 2. */
static bool two_frontiers(const eab_config *config, guint32 salt) {
    (void)salt;
    return config->lr == 2e-2 && config->seed <= 2 && delay_of(config) <= (config->mechanism == 0 ? 6 : 11);
}

Test(search, finds_both_frontiers_by_bisection) {
    setup(ladder);
    const int64_t trained = run(two_frontiers, 0);
    char *text = printed(), *row = g_strdup_printf("trained %lld of 384", (long long)trained);
    cr_expect(strstr(text, "dpa  recurrence  basis=4 delay=6   basis=4 delay=7 "), "%s", text);
    cr_expect(strstr(text, "ea  recurrence   basis=4 delay=11  basis=4 delay=12"), "%s", text);
    cr_expect(strstr(text, row), "%s", text);
    /* Four or five rungs of 16, at most 12 cells each, for each mechanism; solved ones take the middle rate only. */
    cr_expect_lt(trained, 2 * 5 * 12 + 1);
    cr_expect_lt(trained, plan.count / 3);
    g_free(row);
    g_free(text);
    teardown();
}

static bool never(const eab_config *config, guint32 salt) {
    (void)config;
    (void)salt;
    return false;
}

static bool always(const eab_config *config, guint32 salt) {
    (void)config;
    (void)salt;
    return true;
}

Test(search, a_ladder_that_no_seed_or_every_seed_solves) {
    setup(ladder);
    run(never, 0);
    char *text = printed();
    cr_expect(strstr(text, "dpa  recurrence  none              basis=4 delay=2"), "%s", text);
    g_free(text);
    forget();
    /* One rate is enough. All seeds are tried at once and half of them suffice, so each rung takes one round. */
    cr_expect_leq(run(always, 0), 2 * 5 * 4);
    text = printed();
    cr_expect(strstr(text, "dpa  recurrence  basis=4 delay=17  none"), "%s", text);
    g_free(text);
    teardown();
}

/* Each seed has a different frontier at each rate. */
static bool by_hash(const eab_config *config, guint32 salt) {
    const guint32 word = (guint32)config->seed * 2654435761u + (guint32)(config->lr * 1000) * 40503u +
                         (guint32)config->mechanism * 97u + salt * 2246822519u;
    return (guint32)delay_of(config) <= 2 + (word ^ word >> 15) % 17;
}

/* The frontier that the whole grid shows. */
static int32_t frontier_of_all(int32_t mechanism, guint32 salt) {
    int32_t best = 0;
    for (int32_t delay = 2; delay <= 17; delay++) {
        bool seeds[5] = {false};
        for (int64_t i = 0; i < plan.count; i++) {
            const eab_config *config = &plan.cells[i].config;
            if (config->mechanism == mechanism && delay_of(config) == delay && by_hash(config, salt))
                seeds[config->seed] = true;
        }
        if (seeds[1] + seeds[2] + seeds[3] + seeds[4] >= 2) best = delay;
    }
    return best;
}

Test(search, agrees_with_the_whole_grid_if_ladders_are_monotonic) {
    setup(ladder);
    for (guint32 salt = 0; salt < 200; salt++) {
        forget();
        run(by_hash, salt);
        char *text = printed();
        for (int32_t mechanism = 0; mechanism < 2; mechanism++) {
            const int32_t delay = frontier_of_all(mechanism, salt);
            char level[32] = "none";
            if (delay) g_snprintf(level, sizeof level, "basis=4 delay=%d", delay);
            char *expected =
                g_strdup_printf("\n%-15s  %s ", mechanism == 0 ? "dpa  recurrence" : "ea  recurrence", level);
            cr_assert(strstr(text, expected), "%u: want %s in\n%s", salt, expected, text);
            g_free(expected);
        }
        g_free(text);
    }
    teardown();
}

Test(search, known_cells_are_not_wanted) {
    setup(ladder);
    for (int64_t i = 0; i < plan.count; i++)
        eab_search_set(search, i, two_frontiers(&plan.cells[i].config, 0) ? EAB_SEARCH_SOLVED : EAB_SEARCH_UNSOLVED);
    int64_t wanted[MAX_CELLS];
    cr_expect_eq(eab_search_next(search, wanted), 0);
    char *text = printed();
    cr_expect(strstr(text, "trained 384 of 384 cells and saved 0 (0%)"), "%s", text);
    g_free(text);
    teardown();
}

Test(search, models_are_searched_separately) {
    setup("[task recurrence]\nbasis = 4\ndelay = 2:5\n[model]\nd_model = 16, 32\n[train]\nmechanism = dpa, ea\n");
    int64_t wanted[MAX_CELLS];
    cr_expect_eq(eab_search_next(search, wanted), 4); /* one cell on the middle rung of each of four groups */
    run(always, 0);
    char *text = printed();
    cr_expect(strstr(text, "dpa  recurrence d_model=16"), "%s", text);
    cr_expect(strstr(text, "ea  recurrence d_model=32"), "%s", text);
    g_free(text);
    teardown();
}

/* ---- levels of equal complexity ------------------------------------------------------------------------------ */

/* Bits: 2 delay and 4 delay, so that every second level of basis 4 has one of basis 16 beside it. */
static const char *tied = "[task recurrence a]\nbasis = 4\ndelay = 2:16\n[task recurrence b]\nbasis = 16\ndelay = 1:8\n"
                          "[model]\ncontext = 40\n[train]\nmechanism = dpa, ea\nlr = 1e-2, 2e-2\nseed = 1:4\n";

/* Up to a number of bits the levels of one basis are solved, or of both; basis 16 has rungs of its own at 4 bits only.
 * Harder levels are not. */
static bool by_rung(const eab_config *config, guint32 salt) {
    const int32_t basis = config->level.option[0], bits = delay_of(config) * (basis == 4 ? 2 : 4);
    const guint32 word = (salt * 2u + (guint32)config->mechanism) * 2654435761u;
    const int32_t frontier = 2 + (int32_t)((word ^ word >> 13) % 34);
    const int32_t pattern = (int32_t)((word >> 7 ^ (guint32)bits * 40503u) % 3); /* which of a rung's levels */
    const bool alone = bits % 4 != 0;
    if (bits > frontier || config->seed > 2) return false;
    return alone || pattern == 2 || (pattern == 0) == (basis == 4);
}

/* The table without the numbers of cells. */
static char *frontiers(void) {
    char *text = printed(), *found;
    GRegex *counts = g_regex_new(" *[0-9]+ of [0-9]+\n(\n.*\n)?", 0, 0, NULL);
    found = g_regex_replace_literal(counts, text, -1, 0, "\n", 0, NULL);
    g_regex_unref(counts);
    g_free(text);
    return found;
}

Test(search, agrees_with_the_whole_grid_where_levels_tie) {
    setup(tied);
    for (guint32 salt = 0; salt < 200; salt++) {
        forget();
        const int64_t trained = run(by_rung, salt);
        cr_expect_lt(trained, plan.count);
        char *searched = frontiers();
        for (int64_t i = 0; i < plan.count; i++)
            eab_search_set(search, i, by_rung(&plan.cells[i].config, salt) ? EAB_SEARCH_SOLVED : EAB_SEARCH_UNSOLVED);
        char *whole = frontiers();
        cr_expect_str_eq(searched, whole, "%u:\n%s\n%s", (unsigned)salt, searched, whole);
        g_free(searched);
        g_free(whole);
    }
    teardown();
}

/* One level of a rung is solved, and it is not the first: the rung is, and the table names the level. */
static bool only_basis_16(const eab_config *config, guint32 salt) {
    (void)salt;
    return delay_of(config) <= (config->level.option[0] == 16 ? 2 : 3);
}

Test(search, a_rung_is_solved_by_any_of_its_levels) {
    setup(tied);
    run(only_basis_16, 0);
    char *text = printed();
    cr_expect(strstr(text, "dpa  recurrence  basis=16 delay=2"), "%s", text);
    cr_expect(strstr(text, "basis=4 delay=5"), "%s", text);
    g_free(text);
    teardown();
}
