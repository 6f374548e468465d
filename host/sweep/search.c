#include "search.h"

#include <stdlib.h>
#include <string.h>

#include "spec/cell_task.h"

/* A rung of a ladder. */
typedef struct {
    double complexity_bits;
    char *name;
    GArray *cells; /* int64_t */
} rung;

typedef struct {
    char *name;
    GArray *seeds, *rates; /* double, in the plan's order */
    GPtrArray *rungs;      /* from the easiest to the hardest */
    int64_t cells;
} group;

struct eab_search {
    const eab_plan *plan;
    GPtrArray *groups;  /* in the plan's order */
    guint *seed, *rate; /* [plan->count]: places in the lists of the cell's group */
    uint8_t *known;     /* [plan->count]: eab_search_outcome */
};

/* ---- groups -------------------------------------------------------------------------------------------------- */

static bool is_searched_over(const eab_option *option) {
    return strcmp(option->key, "lr") == 0 || strcmp(option->key, "seed") == 0;
}

/* Every option of model and train but rate and seed, as text: equal for the cells of a group. */
static char *group_key(const eab_config *config) {
    GString *key = g_string_new(eab_config_task_name(config));
    if (config->mixture) g_string_append_printf(key, " %d", config->cue);
    for (int i = 0; i < eab_option_count; i++) {
        char value[64];
        if (is_searched_over(&eab_options[i])) continue;
        eab_option_print(&eab_options[i], config, value, sizeof value);
        g_string_append_printf(key, " %s", value);
    }
    return g_string_free(key, FALSE);
}

/* What distinguishes this group from others: mechanism, family and each option that varies within the plan. */
static char *group_name(const eab_plan *plan, const eab_config *config) {
    GString *name = g_string_new(eab_mechanism_name(config->mechanism));
    g_string_append_printf(name, "  %s", eab_config_task_name(config));
    for (int i = 0; i < eab_option_count; i++) {
        const eab_option *option = &eab_options[i];
        bool varies = false;
        if (is_searched_over(option) || strcmp(option->key, "mechanism") == 0) continue;
        for (int64_t cell = 1; cell < plan->count && !varies; cell++)
            varies =
                eab_option_get(option, &plan->cells[cell].config) != eab_option_get(option, &plan->cells[0].config);
        if (!varies) continue;
        char value[64];
        eab_option_print(option, config, value, sizeof value);
        g_string_append_printf(name, " %s=%s", option->key, value);
    }
    return g_string_free(name, FALSE);
}

/* The value's place in the list, to whose end it is added if it is new. */
static guint place_of(GArray *values, double value) {
    for (guint i = 0; i < values->len; i++)
        if (g_array_index(values, double, i) == value) return i;
    g_array_append_val(values, value);
    return values->len - 1;
}

static void rung_free(gpointer pointer) {
    rung *self = pointer;
    g_array_free(self->cells, TRUE);
    g_free(self->name);
    g_free(self);
}

static void group_free(gpointer pointer) {
    group *self = pointer;
    g_ptr_array_free(self->rungs, TRUE);
    g_array_free(self->seeds, TRUE);
    g_array_free(self->rates, TRUE);
    g_free(self->name);
    g_free(self);
}

static group *group_new(const eab_plan *plan, const eab_config *config) {
    group *self = g_new0(group, 1);
    self->name = group_name(plan, config);
    self->seeds = g_array_new(FALSE, FALSE, sizeof(double));
    self->rates = g_array_new(FALSE, FALSE, sizeof(double));
    self->rungs = g_ptr_array_new_with_free_func(rung_free);
    return self;
}

static rung *rung_new(const eab_config *config, const char *name) {
    rung *self = g_new0(rung, 1);
    self->complexity_bits = eab_config_complexity_bits(config);
    self->name = g_strdup(name);
    self->cells = g_array_new(FALSE, FALSE, sizeof(int64_t));
    return self;
}

/* Adds the cell to its group and rung; both are made if they are new. The tables have them by their keys. */
static void add_cell(eab_search *search, int64_t index, GHashTable *groups, GHashTable *rungs) {
    const eab_config *config = &search->plan->cells[index].config;
    char level[EAB_LEVEL_NAME_SIZE], *key = group_key(config);
    group *own = g_hash_table_lookup(groups, key);
    if (!own) {
        own = group_new(search->plan, config);
        g_ptr_array_add(search->groups, own);
        g_hash_table_insert(groups, g_strdup(key), own);
    }
    eab_config_level_name(config, level, sizeof level);
    char *rung_key = g_strconcat(key, "\n", level, NULL);
    rung *at = g_hash_table_lookup(rungs, rung_key);
    if (!at) {
        at = rung_new(config, level);
        g_ptr_array_add(own->rungs, at);
        g_hash_table_insert(rungs, g_strdup(rung_key), at);
    }
    g_array_append_val(at->cells, index);
    own->cells++;
    search->seed[index] = place_of(own->seeds, (double)config->seed);
    search->rate[index] = place_of(own->rates, config->lr);
    g_free(rung_key);
    g_free(key);
}

static int compare_rungs(const void *a, const void *b) {
    const rung *left = *(const rung *const *)a, *right = *(const rung *const *)b;
    if (left->complexity_bits < right->complexity_bits) return -1;
    if (left->complexity_bits > right->complexity_bits) return 1;
    return strcmp(left->name, right->name);
}

eab_search *eab_search_new(const eab_plan *plan) {
    eab_search *search = g_new(eab_search, 1);
    *search = (eab_search){.plan = plan,
                           .groups = g_ptr_array_new_with_free_func(group_free),
                           .seed = g_new(guint, (gsize)plan->count),
                           .rate = g_new(guint, (gsize)plan->count),
                           .known = g_new0(uint8_t, (gsize)plan->count)};
    GHashTable *groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTable *rungs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int64_t i = 0; i < plan->count; i++) add_cell(search, i, groups, rungs);
    g_hash_table_destroy(groups);
    g_hash_table_destroy(rungs);
    for (guint i = 0; i < search->groups->len; i++) {
        const group *own = search->groups->pdata[i];
        g_ptr_array_sort(own->rungs, compare_rungs);
    }
    return search;
}

void eab_search_free(eab_search *search) {
    g_ptr_array_free(search->groups, TRUE);
    g_free(search->seed);
    g_free(search->rate);
    g_free(search->known);
    g_free(search);
}

void eab_search_set(eab_search *search, int64_t cell, eab_search_outcome outcome) {
    search->known[cell] = (uint8_t)outcome;
}

/* ---- the search ---------------------------------------------------------------------------------------------- */

/* What is known of one seed on one rung. A seed without cells there counts neither way. */
typedef struct {
    int32_t cells, known, solved;
} seed_state;

/* [seeds]; g_free. */
static seed_state *measure_seeds(const eab_search *search, const group *self, const rung *at) {
    seed_state *states = g_new0(seed_state, self->seeds->len);
    for (guint i = 0; i < at->cells->len; i++) {
        const int64_t cell = g_array_index(at->cells, int64_t, i);
        seed_state *state = &states[search->seed[cell]];
        state->cells++;
        state->known += search->known[cell] != EAB_SEARCH_UNKNOWN;
        state->solved += search->known[cell] == EAB_SEARCH_SOLVED;
    }
    return states;
}

static eab_search_outcome judge(const eab_search *search, const group *self, const rung *at) {
    int32_t seeds = 0, solved = 0, open = 0;
    seed_state *states = measure_seeds(search, self, at);
    for (guint seed = 0; seed < self->seeds->len; seed++) {
        seeds += states[seed].cells > 0;
        solved += states[seed].solved > 0;
        open += !states[seed].solved && states[seed].known < states[seed].cells;
    }
    g_free(states);
    if (2 * solved >= seeds) return EAB_SEARCH_SOLVED;
    return 2 * (solved + open) < seeds ? EAB_SEARCH_UNSOLVED : EAB_SEARCH_UNKNOWN;
}

/* The hardest rung that is solved and the easiest above it that is not; -1 and the number of rungs if there is none. */
static void bracket(const eab_search *search, const group *self, int32_t *solved, int32_t *not_solved) {
    const int32_t count = (int32_t)self->rungs->len;
    *solved = -1;
    *not_solved = count;
    for (int32_t i = 0; i < count; i++)
        if (judge(search, self, self->rungs->pdata[i]) == EAB_SEARCH_SOLVED) *solved = i;
    for (int32_t i = count - 1; i > *solved; i--)
        if (judge(search, self, self->rungs->pdata[i]) == EAB_SEARCH_UNSOLVED) *not_solved = i;
}

/* Solved cells of the group by rate; g_free. */
static int32_t *count_solved(const eab_search *search, const group *self) {
    int32_t *solved = g_new0(int32_t, self->rates->len);
    for (guint i = 0; i < self->rungs->len; i++) {
        const GArray *cells = ((const rung *)self->rungs->pdata[i])->cells;
        for (guint k = 0; k < cells->len; k++) {
            const int64_t cell = g_array_index(cells, int64_t, k);
            solved[search->rate[cell]] += search->known[cell] == EAB_SEARCH_SOLVED;
        }
    }
    return solved;
}

/* Rates that solved most cells come first, then those in the middle of the list of `count`. */
static bool is_tried_before(guint a, guint b, const int32_t *solved, guint count) {
    const int centre = (int)count - 1, off_a = abs(2 * (int)a - centre), off_b = abs(2 * (int)b - centre);
    if (solved[a] != solved[b]) return solved[a] > solved[b];
    return off_a != off_b ? off_a < off_b : a < b;
}

/* One cell for each seed that is still open on this rung. */
static int64_t want_rung(const eab_search *search, const group *self, const rung *at, int64_t *wanted) {
    seed_state *states = measure_seeds(search, self, at);
    int32_t *solved = count_solved(search, self);
    int64_t *best = g_new(int64_t, self->seeds->len), count = 0;
    for (guint seed = 0; seed < self->seeds->len; seed++) best[seed] = -1;
    for (guint i = 0; i < at->cells->len; i++) {
        const int64_t cell = g_array_index(at->cells, int64_t, i);
        const guint seed = search->seed[cell], rate = search->rate[cell];
        if (states[seed].solved || search->known[cell] != EAB_SEARCH_UNKNOWN) continue;
        if (best[seed] < 0 || is_tried_before(rate, search->rate[best[seed]], solved, self->rates->len))
            best[seed] = cell;
    }
    for (guint seed = 0; seed < self->seeds->len; seed++)
        if (best[seed] >= 0) wanted[count++] = best[seed];
    g_free(best);
    g_free(solved);
    g_free(states);
    return count;
}

int64_t eab_search_next(const eab_search *search, int64_t *wanted) {
    int64_t count = 0;
    for (guint i = 0; i < search->groups->len; i++) {
        const group *self = search->groups->pdata[i];
        int32_t solved, not_solved;
        bracket(search, self, &solved, &not_solved);
        if (not_solved - solved <= 1) continue;
        const int32_t middle = solved + (not_solved - solved) / 2;
        count += want_rung(search, self, self->rungs->pdata[middle], wanted + count);
    }
    return count;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static int64_t count_known(const eab_search *search, const group *self) {
    int64_t known = 0;
    for (guint i = 0; i < self->rungs->len; i++) {
        const GArray *cells = ((const rung *)self->rungs->pdata[i])->cells;
        for (guint k = 0; k < cells->len; k++)
            known += search->known[g_array_index(cells, int64_t, k)] != EAB_SEARCH_UNKNOWN;
    }
    return known;
}

static const char *rung_name(const group *self, int32_t place) {
    const bool exists = place >= 0 && place < (int32_t)self->rungs->len;
    return exists ? ((const rung *)self->rungs->pdata[place])->name : "none";
}

void eab_search_print(FILE *file, const eab_search *search) {
    size_t width = strlen("group"), level = strlen("not solved");
    int64_t trained = 0;
    for (guint i = 0; i < search->groups->len; i++) {
        const group *self = search->groups->pdata[i];
        width = MAX(width, strlen(self->name));
        for (guint k = 0; k < self->rungs->len; k++) level = MAX(level, strlen(rung_name(self, (int32_t)k)));
    }
    fprintf(file, "%-*s  %-*s  %-*s  %s\n", (int)width, "group", (int)level, "solved up to", (int)level, "not solved",
            "cells");
    for (guint i = 0; i < search->groups->len; i++) {
        const group *self = search->groups->pdata[i];
        const int64_t known = count_known(search, self);
        int32_t solved, not_solved;
        bracket(search, self, &solved, &not_solved);
        fprintf(file, "%-*s  %-*s  %-*s  %lld of %lld\n", (int)width, self->name, (int)level, rung_name(self, solved),
                (int)level, rung_name(self, not_solved), (long long)known, (long long)self->cells);
        trained += known;
    }
    const int64_t count = search->plan->count, saved = count - trained;
    fprintf(file, "\nthe search trained %lld of %lld cells and saved %lld (%.0f%%)\n", (long long)trained,
            (long long)count, (long long)saved, 100.0 * (double)saved / (double)MAX(1, count));
}
