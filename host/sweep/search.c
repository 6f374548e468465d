#include "search.h"

#include <glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spec/cell_task.h"

/* A rung of a ladder; cells are the plan's indices. */
typedef struct {
    double complexity_bits;
    char *name;
    int64_t *cells; /* [seeds][rates]; -1: the plan does not have it */
} rung;

typedef struct {
    char *name;
    GArray *seeds, *rates; /* int64_t, double: in the plan's order */
    GArray *rungs;         /* of rung, from the easiest to the hardest */
    GArray *members;       /* int64_t: its cells in the plan */
} group;

struct eab_search {
    const eab_plan *plan;
    GPtrArray *groups; /* of group, in the plan's order */
};

typedef enum { OPEN, NOT_SOLVED, SOLVED } verdict;

/* ---- groups -------------------------------------------------------------------------------------------------- */

static bool is_searched_over(const eab_option *option) {
    return strcmp(option->key, "lr") == 0 || strcmp(option->key, "seed") == 0;
}

/* Every option of model and train but rate and seed, as text; two cells with equal ones are of one group. */
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

/* What tells this group from others: the mechanism, the family and each option that varies within the plan. */
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

static guint place_of_seed(GArray *seeds, int64_t seed) {
    for (guint i = 0; i < seeds->len; i++)
        if (g_array_index(seeds, int64_t, i) == seed) return i;
    g_array_append_val(seeds, seed);
    return seeds->len - 1;
}

static guint place_of_rate(GArray *rates, double rate) {
    for (guint i = 0; i < rates->len; i++)
        if (g_array_index(rates, double, i) == rate) return i;
    g_array_append_val(rates, rate);
    return rates->len - 1;
}

static int compare_rungs(const void *a, const void *b) {
    const rung *left = a, *right = b;
    if (left->complexity_bits < right->complexity_bits) return -1;
    if (left->complexity_bits > right->complexity_bits) return 1;
    return strcmp(left->name, right->name);
}

/* Seeds, rates and rungs of a group whose members are known. */
static void fill_group(group *self, const eab_plan *plan) {
    GHashTable *places = g_hash_table_new(g_str_hash, g_str_equal); /* a level's name -> its rung, while unsorted */
    for (guint i = 0; i < self->members->len; i++) {
        const eab_config *config = &plan->cells[g_array_index(self->members, int64_t, i)].config;
        place_of_seed(self->seeds, config->seed);
        place_of_rate(self->rates, config->lr);
    }
    const gsize width = (gsize)self->seeds->len * self->rates->len;
    for (guint i = 0; i < self->members->len; i++) {
        const int64_t index = g_array_index(self->members, int64_t, i);
        const eab_config *config = &plan->cells[index].config;
        char name[EAB_LEVEL_NAME_SIZE];
        gpointer place;
        eab_config_level_name(config, name, sizeof name);
        if (!g_hash_table_lookup_extended(places, name, NULL, &place)) {
            const rung fresh = {.complexity_bits = eab_config_complexity_bits(config),
                                .name = g_strdup(name),
                                .cells = g_new(int64_t, width)};
            for (gsize k = 0; k < width; k++) fresh.cells[k] = -1;
            place = GUINT_TO_POINTER(self->rungs->len);
            g_array_append_val(self->rungs, fresh);
            g_hash_table_insert(places, fresh.name, place);
        }
        const guint seed = place_of_seed(self->seeds, config->seed), rate = place_of_rate(self->rates, config->lr);
        g_array_index(self->rungs, rung, GPOINTER_TO_UINT(place)).cells[seed * self->rates->len + rate] = index;
    }
    g_hash_table_destroy(places);
    qsort(self->rungs->data, self->rungs->len, sizeof(rung), compare_rungs);
}

static void group_free(gpointer pointer) {
    group *self = pointer;
    for (guint i = 0; i < self->rungs->len; i++) {
        g_free(g_array_index(self->rungs, rung, i).name);
        g_free(g_array_index(self->rungs, rung, i).cells);
    }
    g_array_free(self->rungs, TRUE);
    g_array_free(self->seeds, TRUE);
    g_array_free(self->rates, TRUE);
    g_array_free(self->members, TRUE);
    g_free(self->name);
    g_free(self);
}

eab_search *eab_search_new(const eab_plan *plan) {
    eab_search *search = g_new(eab_search, 1);
    *search = (eab_search){plan, g_ptr_array_new_with_free_func(group_free)};
    GHashTable *groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int64_t i = 0; i < plan->count; i++) {
        char *key = group_key(&plan->cells[i].config);
        group *found = g_hash_table_lookup(groups, key);
        if (!found) {
            found = g_new(group, 1);
            *found = (group){.name = group_name(plan, &plan->cells[i].config),
                             .seeds = g_array_new(FALSE, FALSE, sizeof(int64_t)),
                             .rates = g_array_new(FALSE, FALSE, sizeof(double)),
                             .rungs = g_array_new(FALSE, FALSE, sizeof(rung)),
                             .members = g_array_new(FALSE, FALSE, sizeof(int64_t))};
            g_ptr_array_add(search->groups, found);
            g_hash_table_insert(groups, g_strdup(key), found);
        }
        g_array_append_val(found->members, i);
        g_free(key);
    }
    g_hash_table_destroy(groups);
    for (guint i = 0; i < search->groups->len; i++) fill_group(search->groups->pdata[i], plan);
    return search;
}

void eab_search_free(eab_search *search) {
    g_ptr_array_free(search->groups, TRUE);
    g_free(search);
}

/* ---- the search ---------------------------------------------------------------------------------------------- */

/* What is known of one seed on one rung. A seed that the plan lacks there counts neither way. */
typedef struct {
    int32_t cells, known, solved;
} seed_state;

static seed_state look_at_seed(const group *self, const rung *at, guint seed, const uint8_t *known) {
    seed_state state = {0};
    for (guint rate = 0; rate < self->rates->len; rate++) {
        const int64_t cell = at->cells[seed * self->rates->len + rate];
        if (cell < 0) continue;
        state.cells++;
        state.known += known[cell] != EAB_SEARCH_UNKNOWN;
        state.solved += known[cell] == EAB_SEARCH_SOLVED;
    }
    return state;
}

static verdict judge(const group *self, const rung *at, const uint8_t *known) {
    int32_t seeds = 0, solved = 0, open = 0;
    for (guint seed = 0; seed < self->seeds->len; seed++) {
        const seed_state state = look_at_seed(self, at, seed, known);
        seeds += state.cells > 0;
        solved += state.solved > 0;
        open += !state.solved && state.known < state.cells;
    }
    if (2 * solved >= seeds) return SOLVED;
    return 2 * (solved + open) < seeds ? NOT_SOLVED : OPEN;
}

/* The hardest rung that is solved and the easiest above it that is not; -1 and the number of rungs where there is
 * none. */
static void bracket(const group *self, const uint8_t *known, int32_t *solved, int32_t *not_solved) {
    *solved = -1;
    *not_solved = (int32_t)self->rungs->len;
    for (int32_t i = 0; i < (int32_t)self->rungs->len; i++)
        if (judge(self, &g_array_index(self->rungs, rung, i), known) == SOLVED) *solved = i;
    for (int32_t i = (int32_t)self->rungs->len - 1; i > *solved; i--)
        if (judge(self, &g_array_index(self->rungs, rung, i), known) == NOT_SOLVED) *not_solved = i;
}

/* The rates, those that solved most cells of the group first, then those in the middle of the list. */
static void order_rates(const group *self, const uint8_t *known, guint *order) {
    const guint count = self->rates->len;
    int32_t *solved = g_new0(int32_t, count);
    for (guint i = 0; i < self->rungs->len; i++)
        for (guint cell = 0; cell < self->seeds->len * count; cell++) {
            const int64_t index = g_array_index(self->rungs, rung, i).cells[cell];
            solved[cell % count] += index >= 0 && known[index] == EAB_SEARCH_SOLVED;
        }
    for (guint i = 0; i < count; i++) { /* insertion: a handful */
        guint place = i;
        const int32_t off_centre = abs(2 * (int32_t)i - (int32_t)count + 1);
        while (place > 0) {
            const guint other = order[place - 1];
            const int32_t other_off = abs(2 * (int32_t)other - (int32_t)count + 1);
            if (solved[other] > solved[i] || (solved[other] == solved[i] && other_off <= off_centre)) break;
            order[place] = other;
            place--;
        }
        order[place] = i;
    }
    g_free(solved);
}

/* One cell for each seed that is still open on this rung. */
static int64_t want_rung(const group *self, const rung *at, const uint8_t *known, int64_t *wanted) {
    guint *order = g_new(guint, self->rates->len);
    int64_t count = 0;
    order_rates(self, known, order);
    for (guint seed = 0; seed < self->seeds->len; seed++) {
        if (look_at_seed(self, at, seed, known).solved) continue;
        for (guint i = 0; i < self->rates->len; i++) {
            const int64_t cell = at->cells[seed * self->rates->len + order[i]];
            if (cell < 0 || known[cell] != EAB_SEARCH_UNKNOWN) continue;
            wanted[count++] = cell;
            break;
        }
    }
    g_free(order);
    return count;
}

int64_t eab_search_next(const eab_search *search, const uint8_t *known, int64_t *wanted) {
    int64_t count = 0;
    for (guint i = 0; i < search->groups->len; i++) {
        const group *self = search->groups->pdata[i];
        int32_t solved, not_solved;
        bracket(self, known, &solved, &not_solved);
        if (not_solved - solved <= 1) continue;
        const int32_t middle = solved + (not_solved - solved) / 2;
        count += want_rung(self, &g_array_index(self->rungs, rung, middle), known, wanted + count);
    }
    return count;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

void eab_search_print(FILE *file, const eab_search *search, const uint8_t *known) {
    size_t width = strlen("group"), level = strlen("not solved");
    int64_t trained = 0;
    for (guint i = 0; i < search->groups->len; i++) {
        const group *self = search->groups->pdata[i];
        width = MAX(width, strlen(self->name));
        for (guint k = 0; k < self->rungs->len; k++)
            level = MAX(level, strlen(g_array_index(self->rungs, rung, k).name));
    }
    for (int64_t i = 0; i < search->plan->count; i++) trained += known[i] != EAB_SEARCH_UNKNOWN;
    fprintf(file, "%-*s  %-*s  %-*s  %s\n", (int)width, "group", (int)level, "solved up to", (int)level, "not solved",
            "cells");
    for (guint i = 0; i < search->groups->len; i++) {
        const group *self = search->groups->pdata[i];
        int32_t solved, not_solved;
        int64_t own = 0;
        bracket(self, known, &solved, &not_solved);
        for (guint k = 0; k < self->members->len; k++)
            own += known[g_array_index(self->members, int64_t, k)] != EAB_SEARCH_UNKNOWN;
        fprintf(file, "%-*s  %-*s  %-*s  %lld of %u\n", (int)width, self->name, (int)level,
                solved < 0 ? "none" : g_array_index(self->rungs, rung, solved).name, (int)level,
                not_solved == (int32_t)self->rungs->len ? "none" : g_array_index(self->rungs, rung, not_solved).name,
                (long long)own, self->members->len);
    }
    const int64_t saved = search->plan->count - trained;
    fprintf(file, "\nthe search trained %lld of %lld cells and saved %lld (%.0f%%)\n", (long long)trained,
            (long long)search->plan->count, (long long)saved,
            100.0 * (double)saved / (double)MAX(1, search->plan->count));
}
