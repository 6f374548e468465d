#include "search.h"

#include <stdlib.h>
#include <string.h>

#include "plan/validate.h"
#include "spec/cell_task.h"

/* A cell of the plan. Sorted by group, level and seed. */
typedef struct {
    int64_t cell;
    guint group;
    double complexity_bits;
    const char *level; /* one pointer for equal names */
    int64_t seed;
    guint rate; /* place of its lr in the group's rates */
} entry;

/* Entries of one level. */
typedef struct {
    const entry *begin, *end;
} level_entries;

/* The levels of equal complexity: places in the group's levels. */
typedef struct {
    guint begin, end;
} rung;

typedef struct {
    char *name;
    GArray *rates;  /* double, in the plan's order */
    GArray *levels; /* level_entries, from the easiest to the hardest */
    GArray *rungs;  /* rung, likewise */
} group;

struct eab_search {
    const eab_plan *plan;
    entry *entries;       /* [plan->count] */
    GStringChunk *levels; /* their names */
    GPtrArray *groups;    /* in the plan's order */
    uint8_t *known;       /* [plan->count]: eab_search_outcome */
};

/* ---- groups -------------------------------------------------------------------------------------------------- */

/* What distinguishes the cell's group from others, for a reader: mechanism, family and each option that varies.
 * g_free. */
static char *group_name(const eab_config *config, const GPtrArray *varying) {
    GString *name = g_string_new(eab_mechanism_name(config->mechanism));
    g_string_append_printf(name, "  %s", eab_config_task_name(config));
    for (guint i = 0; i < varying->len; i++) {
        const eab_option *option = varying->pdata[i];
        char value[64];
        if (strcmp(option->key, "mechanism") == 0) continue;
        eab_option_print(option, config, value, sizeof value);
        g_string_append_printf(name, " %s=%s", option->key, value);
    }
    return g_string_free(name, FALSE);
}

/* The same as a key of a hash table. Printing numbers would delay a search of 1,000,000 cells. */
static GBytes *group_key(const eab_config *config, const GPtrArray *varying) {
    const gsize count = 3 + varying->len;
    double *key = g_new(double, count);
    key[0] = config->mechanism;
    key[1] = config->mixture ? EAB_FAMILY_MIXTURE : config->level.family;
    key[2] = config->mixture ? config->cue : 0;
    for (guint i = 0; i < varying->len; i++) key[3 + i] = eab_option_get(varying->pdata[i], config);
    return g_bytes_new_take(key, count * sizeof *key);
}

/* The value's place in the list, to whose end it is added if it is new. */
static guint place_of(GArray *values, double value) {
    for (guint i = 0; i < values->len; i++)
        if (g_array_index(values, double, i) == value) return i;
    g_array_append_val(values, value);
    return values->len - 1;
}

static void group_free(gpointer pointer) {
    group *self = pointer;
    g_array_free(self->rungs, TRUE);
    g_array_free(self->levels, TRUE);
    g_array_free(self->rates, TRUE);
    g_free(self->name);
    g_free(self);
}

/* The number of the cell's group, which is added if it is new. numbers: of the groups by their keys. */
static guint find_group(eab_search *search, const eab_config *config, const GPtrArray *varying, GHashTable *numbers) {
    GBytes *key = group_key(config, varying);
    gpointer number;
    if (g_hash_table_lookup_extended(numbers, key, NULL, &number)) {
        g_bytes_unref(key);
    } else {
        group *fresh = g_new(group, 1);
        *fresh = (group){group_name(config, varying), g_array_new(FALSE, FALSE, sizeof(double)),
                         g_array_new(FALSE, FALSE, sizeof(level_entries)), g_array_new(FALSE, FALSE, sizeof(rung))};
        number = GUINT_TO_POINTER(search->groups->len);
        g_ptr_array_add(search->groups, fresh);
        g_hash_table_insert(numbers, key, number);
    }
    return GPOINTER_TO_UINT(number);
}

/* An entry of a cell; `last`: the entry of the cell before. Most cells differ from that in lr and seed only, which
 * decide neither group nor level. */
static entry make_entry(eab_search *search, int64_t cell, const entry *last, const GPtrArray *varying,
                        GHashTable *numbers) {
    const eab_config *config = &search->plan->cells[cell].config;
    char level[EAB_LEVEL_NAME_SIZE];
    entry own;
    if (last && eab_config_checks_alike(config, &search->plan->cells[last->cell].config)) {
        own = *last;
    } else {
        eab_config_level_name(config, level, sizeof level);
        own.group = find_group(search, config, varying, numbers);
        own.level = g_string_chunk_insert_const(search->levels, level);
        own.complexity_bits = eab_config_complexity_bits(config);
    }
    own.cell = cell;
    own.seed = config->seed;
    own.rate = place_of(((group *)search->groups->pdata[own.group])->rates, config->lr);
    return own;
}

static void fill_entries(eab_search *search) {
    GPtrArray *varying = eab_plan_varying(search->plan);
    GHashTable *numbers = g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);
    for (int64_t i = 0; i < search->plan->count; i++) {
        const entry *last = i ? &search->entries[i - 1] : NULL;
        search->entries[i] = make_entry(search, i, last, varying, numbers);
    }
    g_hash_table_destroy(numbers);
    g_ptr_array_free(varying, TRUE);
}

static int compare_entries(const void *a, const void *b) {
    const entry *left = a, *right = b;
    if (left->group != right->group) return left->group < right->group ? -1 : 1;
    if (left->complexity_bits < right->complexity_bits) return -1;
    if (left->complexity_bits > right->complexity_bits) return 1;
    if (left->level != right->level) return strcmp(left->level, right->level);
    if (left->seed != right->seed) return left->seed < right->seed ? -1 : 1;
    return left->cell < right->cell ? -1 : left->cell > right->cell;
}

static const level_entries *level_at(const group *self, guint place) {
    return &g_array_index(self->levels, level_entries, place);
}

/* Adds a level that is at least as hard as the group's others. */
static void add_level(const group *self, const level_entries *level) {
    const guint place = self->levels->len;
    const bool tied = place && level_at(self, place - 1)->begin->complexity_bits == level->begin->complexity_bits;
    const rung fresh = {place, place + 1};
    g_array_append_vals(self->levels, level, 1);
    if (tied) g_array_index(self->rungs, rung, self->rungs->len - 1).end++;
    else g_array_append_val(self->rungs, fresh);
}

/* Finds the levels and rungs of all groups in the sorted entries. */
static void find_rungs(eab_search *search) {
    const entry *const end = search->entries + search->plan->count;
    for (const entry *at = search->entries; at < end;) {
        level_entries level = {at, at};
        while (level.end < end && level.end->group == at->group && level.end->level == at->level) level.end++;
        add_level(search->groups->pdata[at->group], &level);
        at = level.end;
    }
}

eab_search *eab_search_new(const eab_plan *plan) {
    eab_search *search = g_new(eab_search, 1);
    *search = (eab_search){.plan = plan,
                           .entries = g_new(entry, (gsize)plan->count),
                           .levels = g_string_chunk_new(4096),
                           .groups = g_ptr_array_new_with_free_func(group_free),
                           .known = g_new0(uint8_t, (gsize)plan->count)};
    fill_entries(search);
    qsort(search->entries, (size_t)plan->count, sizeof *search->entries, compare_entries);
    find_rungs(search);
    return search;
}

void eab_search_free(eab_search *search) {
    g_ptr_array_free(search->groups, TRUE);
    g_string_chunk_free(search->levels);
    g_free(search->entries);
    g_free(search->known);
    g_free(search);
}

void eab_search_set(eab_search *search, int64_t cell, eab_search_outcome outcome) {
    search->known[cell] = (uint8_t)outcome;
}

/* ---- the search ---------------------------------------------------------------------------------------------- */

static const rung *rung_at(const group *self, int32_t place) { return &g_array_index(self->rungs, rung, place); }

/* The end of a seed's entries on a level, and whether one of its cells is solved or unknown. */
typedef struct {
    const entry *end;
    bool solved, unknown;
} seed_state;

static seed_state measure_seed(const eab_search *search, const entry *begin, const level_entries *at) {
    seed_state state = {.end = begin};
    for (; state.end < at->end && state.end->seed == begin->seed; state.end++) {
        state.solved = state.solved || search->known[state.end->cell] == EAB_SEARCH_SOLVED;
        state.unknown = state.unknown || search->known[state.end->cell] == EAB_SEARCH_UNKNOWN;
    }
    return state;
}

static eab_search_outcome judge_level(const eab_search *search, const level_entries *at) {
    int32_t seeds = 0, solved = 0, open = 0;
    seed_state state;
    for (const entry *begin = at->begin; begin < at->end; begin = state.end) {
        state = measure_seed(search, begin, at);
        seeds++;
        solved += state.solved;
        open += !state.solved && state.unknown;
    }
    if (2 * solved >= seeds) return EAB_SEARCH_SOLVED;
    return 2 * (solved + open) < seeds ? EAB_SEARCH_UNSOLVED : EAB_SEARCH_UNKNOWN;
}

/* A rung is solved if one of its levels is, but its verdict waits for those of all its levels. */
static eab_search_outcome judge(const eab_search *search, const group *self, const rung *at) {
    eab_search_outcome outcome = EAB_SEARCH_UNSOLVED;
    for (guint i = at->begin; i < at->end; i++) {
        const eab_search_outcome level = judge_level(search, level_at(self, i));
        if (level == EAB_SEARCH_UNKNOWN) return EAB_SEARCH_UNKNOWN;
        if (level == EAB_SEARCH_SOLVED) outcome = EAB_SEARCH_SOLVED;
    }
    return outcome;
}

/* The hardest rung that is solved and the easiest above it that is not; -1 and the number of rungs if there is none. */
static void bracket(const eab_search *search, const group *self, int32_t *solved, int32_t *not_solved) {
    const int32_t count = (int32_t)self->rungs->len;
    *solved = -1;
    *not_solved = count;
    for (int32_t i = 0; i < count; i++)
        if (judge(search, self, rung_at(self, i)) == EAB_SEARCH_SOLVED) *solved = i;
    for (int32_t i = count - 1; i > *solved; i--)
        if (judge(search, self, rung_at(self, i)) == EAB_SEARCH_UNSOLVED) *not_solved = i;
}

/* The group's entries, of all levels. */
static level_entries all_levels(const group *self) {
    return (level_entries){level_at(self, 0)->begin, level_at(self, self->levels->len - 1)->end};
}

/* Solved cells of the group by rate; g_free. */
static int32_t *count_solved(const eab_search *search, const group *self) {
    int32_t *solved = g_new0(int32_t, self->rates->len);
    const level_entries all = all_levels(self);
    for (const entry *at = all.begin; at < all.end; at++)
        solved[at->rate] += search->known[at->cell] == EAB_SEARCH_SOLVED;
    return solved;
}

/* Rates that solved most cells come first, then those in the middle of the list of `count`. */
static bool is_tried_before(guint a, guint b, const int32_t *solved, guint count) {
    const int centre = (int)count - 1, off_a = abs(2 * (int)a - centre), off_b = abs(2 * (int)b - centre);
    if (solved[a] != solved[b]) return solved[a] > solved[b];
    return off_a != off_b ? off_a < off_b : a < b;
}

/* One cell for each seed that is still open on this level. solved: cells of the group by rate. */
static int64_t want_level(const eab_search *search, const group *self, const level_entries *at, const int32_t *solved,
                          int64_t *wanted) {
    int64_t count = 0;
    seed_state state;
    for (const entry *begin = at->begin; begin < at->end; begin = state.end) {
        state = measure_seed(search, begin, at);
        if (state.solved || !state.unknown) continue;
        const entry *best = NULL;
        for (const entry *own = begin; own < state.end; own++) {
            if (search->known[own->cell] != EAB_SEARCH_UNKNOWN) continue;
            if (!best || is_tried_before(own->rate, best->rate, solved, self->rates->len)) best = own;
        }
        wanted[count++] = best->cell;
    }
    return count;
}

/* Cells of each level of the rung that has no verdict yet. */
static int64_t want_rung(const eab_search *search, const group *self, const rung *at, int64_t *wanted) {
    int32_t *solved = count_solved(search, self);
    int64_t count = 0;
    for (guint i = at->begin; i < at->end; i++)
        if (judge_level(search, level_at(self, i)) == EAB_SEARCH_UNKNOWN)
            count += want_level(search, self, level_at(self, i), solved, wanted + count);
    g_free(solved);
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
        count += want_rung(search, self, rung_at(self, middle), wanted + count);
    }
    return count;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* The rung's levels with this outcome, between commas; "none" if there is no such rung. g_free. */
static char *level_names(const eab_search *search, const group *self, int32_t place, eab_search_outcome outcome) {
    if (place < 0 || place >= (int32_t)self->rungs->len) return g_strdup("none");
    GString *names = g_string_new(NULL);
    const rung *at = rung_at(self, place);
    for (guint i = at->begin; i < at->end; i++)
        if (judge_level(search, level_at(self, i)) == outcome)
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", level_at(self, i)->begin->level);
    return g_string_free(names, FALSE);
}

/* One row of the table. */
typedef struct {
    char *solved, *not_solved; /* levels */
    int64_t known, count;      /* cells */
} frontier;

static frontier measure_frontier(const eab_search *search, const group *self) {
    const level_entries all = all_levels(self);
    int32_t solved, not_solved;
    bracket(search, self, &solved, &not_solved);
    frontier row = {level_names(search, self, solved, EAB_SEARCH_SOLVED),
                    level_names(search, self, not_solved, EAB_SEARCH_UNSOLVED), 0, all.end - all.begin};
    for (const entry *at = all.begin; at < all.end; at++) row.known += search->known[at->cell] != EAB_SEARCH_UNKNOWN;
    return row;
}

void eab_search_print(FILE *file, const eab_search *search) {
    const guint groups = search->groups->len;
    frontier *rows = g_new(frontier, groups);
    size_t width = strlen("group"), level = strlen("not solved");
    int64_t trained = 0;
    for (guint i = 0; i < groups; i++) {
        const group *self = search->groups->pdata[i];
        rows[i] = measure_frontier(search, self);
        width = MAX(width, strlen(self->name));
        for (guint k = 0; k < self->levels->len; k++) level = MAX(level, strlen(level_at(self, k)->begin->level));
        level = MAX(level, MAX(strlen(rows[i].solved), strlen(rows[i].not_solved)));
        trained += rows[i].known;
    }
    fprintf(file, "%-*s  %-*s  %-*s  %s\n", (int)width, "group", (int)level, "solved up to", (int)level, "not solved",
            "cells");
    for (guint i = 0; i < groups; i++) {
        const group *self = search->groups->pdata[i];
        fprintf(file, "%-*s  %-*s  %-*s  %lld of %lld\n", (int)width, self->name, (int)level, rows[i].solved,
                (int)level, rows[i].not_solved, (long long)rows[i].known, (long long)rows[i].count);
        g_free(rows[i].solved);
        g_free(rows[i].not_solved);
    }
    g_free(rows);
    const int64_t count = search->plan->count, saved = count - trained;
    fprintf(file, "\nthe search trained %lld of %lld cells and saved %lld (%.0f%%)\n", (long long)trained,
            (long long)count, (long long)saved, 100.0 * (double)saved / (double)MAX(1, count));
}
