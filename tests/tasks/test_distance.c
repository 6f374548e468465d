#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

static const char *const published = "symbols=128 items=10 distance_min=15 distance_max=25";

/* Worked out from the definition. The first sequence: the first pair has distance 0; its originals lie before the
 * window. The second pair, also at distance 0, copies 3 0 4 of 3 0 4 7, and so on. In the other sequence the second
 * pair pastes nothing, and the third one 6 of 6 4 4 7. */
Test(distance, by_hand) {
    const eab_level copy = family_level("distance", ""), select = family_level("distance", "ops=1");
    family_expect_sequence(&copy, EAB_STREAM_TRAINING, 0,
                           "[3] [C] [C] [0] [4] [7] [C] [C] 3 0 4 [C] [R] [3] [C] 7 3 0 [C] [R] [2] [R] [4] [C] [C]");
    family_expect_sequence(
        &select, EAB_STREAM_TRAINING, 0,
        "[6] [4] [S] [S] [4] [S] [R] [7] [S] [S] [R] [S] 6 [R] [0] [2] [0] [R] [5] [R] [3] [6] [4] [R] [5]");
}

/* What is counted in many windows. */
typedef struct {
    int64_t pairs[3], distances[3][128]; /* of pairs that begin in the first part of a window: by task, by distance */
    int64_t durations[33], tasks, random_tasks; /* of R tasks outside of pairs */
    int64_t pasted[33];                         /* of C */
    int64_t scored;
} window_counts;

enum { LENGTH = 256, FIRST_PART = 200, WINDOWS = 6000 };

/* The place of the first control of a pair from `t` on, or LENGTH. */
static int32_t find_control(const family_sequence *sequence, int32_t symbols, int32_t t) {
    while (t < LENGTH && sequence->tokens[t] <= symbols) t++;
    return t;
}

static bool data_follows(const family_sequence *sequence, int32_t symbols, int32_t t) {
    return t + 1 < LENGTH && sequence->tokens[t + 1] < symbols;
}

/* Data follows the second control of a pair, never the first. Where a window's first two such controls have no data
 * behind them, one of them is a second one with nothing to paste: which, its tokens do not say. */
static bool is_unclear(const family_sequence *sequence, int32_t symbols) {
    const int32_t first = find_control(sequence, symbols, 0), next = find_control(sequence, symbols, first + 1);
    return next < LENGTH && !data_follows(sequence, symbols, first) && !data_follows(sequence, symbols, next);
}

/* Reads a window of `level` by the definition alone, and compares every pasted token. */
static void read_window(const eab_level *level, const family_sequence *sequence, window_counts *counts) {
    const int32_t ops = level->option[EAB_DISTANCE_OPS], symbols = level->option[EAB_DISTANCE_SYMBOLS];
    const int32_t items = level->option[EAB_DISTANCE_ITEMS], *tokens = sequence->tokens;
    int32_t data[LENGTH], count = 0, first = -1, at_first = 0; /* data tokens, the open pair, `count` at its begin */
    bool known = false;                                        /* no control of a pair was met yet */
    for (int32_t t = 0; t < LENGTH;) {
        const int32_t control = t;
        const int32_t task = tokens[t] - symbols;
        if (task < 0) { /* the rest of a task that began before the window */
            cr_assert_not(sequence->determined[t]);
            data[count++] = t++;
            continue;
        }
        int32_t end = ++t;
        while (end < LENGTH && tokens[end] < symbols) end++;
        const bool second = task > 0 && (known ? first >= 0 : end > t);
        const bool whole = end < LENGTH && control < FIRST_PART;
        cr_assert_not(sequence->determined[control]);
        if (known && first < 0 && control < FIRST_PART) {
            counts->tasks++;
            counts->random_tasks += task == 0;
        }
        if (task == 0 && first < 0 && known && whole) counts->durations[end - t]++;
        if (task == 0 || !second) {
            cr_assert(task == 0 || end == t, "data after a pair's first control");
            for (; t < end; t++) {
                cr_assert_not(sequence->determined[t]);
                data[count++] = t;
            }
            if (task) first = control, at_first = count;
            known = known || task > 0;
            continue;
        }
        const bool selective = task == 2 || ops == EAB_DISTANCE_S;
        const int32_t begin = first >= 0 ? at_first - items : -items; /* of the originals, in `data` */
        if (first >= 0 && first < FIRST_PART) {
            cr_assert_eq(tokens[first], tokens[control], "a pair of two tasks");
            counts->pairs[task]++;
            counts->distances[task][control - first - 1]++;
            if (!selective && whole) counts->pasted[end - t]++;
        }
        for (int32_t next = 0; t < end; t++, next++) {
            while (selective && begin >= 0 && next < items && tokens[data[begin + next]] % 2) next++;
            cr_assert_lt(next, items);
            const bool visible = first >= 0 && (selective ? begin >= 0 : begin + next >= 0);
            cr_assert_eq(sequence->determined[t], visible && t >= 2 * (items - 1), "position %d", t);
            if (visible) cr_assert_eq(tokens[t], tokens[data[begin + next]], "position %d", t);
            if (selective) cr_assert_eq(tokens[t] % 2, 0);
            counts->scored += sequence->determined[t];
            data[count++] = t;
        }
        first = -1;
        known = true;
    }
}

static window_counts count_windows(const eab_level *level) {
    window_counts counts = {.tasks = 0};
    for (uint64_t index = 0; index < WINDOWS; index++) {
        family_sequence sequence;
        family_draw(level, (uint32_t)(index % 3), index, LENGTH, &sequence);
        if (!is_unclear(&sequence, level->option[EAB_DISTANCE_SYMBOLS])) read_window(level, &sequence, &counts);
    }
    return counts;
}

/* Each count is within five standard deviations of its share of `all`. */
static void expect_count(int64_t count, double share, int64_t all, const char *what, int value) {
    const double mean = share * (double)all, deviation = sqrt(mean * (1 - share));
    cr_expect_leq(fabs((double)count - mean), 5 * deviation + 1, "%s %d: %lld of %lld, expected %.0f", what, value,
                  (long long)count, (long long)all, mean);
}

static void expect_binomial(const int64_t *counts, int trials, const char *what) {
    int64_t all = 0;
    for (int i = 0; i <= trials; i++) all += counts[i];
    cr_expect_gt(all, 2000);
    for (int i = 0; i <= trials; i++)
        expect_count(counts[i],
                     exp(lgamma(trials + 1) - lgamma(i + 1) - lgamma(trials - i + 1)) * pow(2.0 / 3, i) *
                         pow(1.0 / 3, trials - i),
                     all, what, i);
}

Test(distance, distances_durations_and_scored_positions_are_as_published) {
    const eab_level level = family_level("distance", published);
    const window_counts counts = count_windows(&level);
    cr_expect_gt(counts.pairs[1], 10000);
    for (int distance = 0; distance < 128; distance++)
        expect_count(counts.distances[1][distance], distance >= 15 && distance <= 25 ? 1.0 / 11 : 0, counts.pairs[1],
                     "distance", distance);
    expect_binomial(counts.durations, 9, "duration");
    expect_binomial(counts.pasted, 9, "pasted");
    expect_count(counts.random_tasks, 0.5, counts.tasks, "R tasks", 0);
}

Test(distance, pairs_of_both_tasks_are_equally_frequent) {
    eab_level level = family_level("distance", published);
    level.option[EAB_DISTANCE_OPS] = EAB_DISTANCE_CS;
    const window_counts counts = count_windows(&level);
    expect_count(counts.pairs[1], 0.5, counts.pairs[1] + counts.pairs[2], "pairs of C", 1);
    expect_count(counts.random_tasks, 1.0 / 3, counts.tasks, "R tasks", 0);
    cr_expect_gt(counts.scored, 20000);
}

/* C and S in the paper's two ranges; the same for S alone, with the control that it has beside C. */
Test(distance, selective_copies_have_their_own_distances) {
    eab_level level = family_level("distance", published);
    level.option[EAB_DISTANCE_S_MIN] = 45;
    level.option[EAB_DISTANCE_S_MAX] = 55;
    for (level.option[EAB_DISTANCE_OPS] = EAB_DISTANCE_CS; level.option[EAB_DISTANCE_OPS] >= EAB_DISTANCE_S;
         level.option[EAB_DISTANCE_OPS]--) {
        const window_counts counts = count_windows(&level);
        const bool both = level.option[EAB_DISTANCE_OPS] == EAB_DISTANCE_CS;
        cr_expect_eq(counts.pairs[1] > 0, both);
        cr_expect_gt(counts.pairs[2], 4000);
        cr_expect_gt(counts.scored, 10000);
        cr_expect_eq(eab_task_at(level.family)->vocab(&level), 128 + 3);
        for (int distance = 0; distance < 128; distance++) {
            expect_count(counts.distances[1][distance], distance >= 15 && distance <= 25 ? 1.0 / 11 : 0,
                         counts.pairs[1], "distance of C", distance);
            expect_count(counts.distances[2][distance], distance >= 45 && distance <= 55 ? 1.0 / 11 : 0,
                         counts.pairs[2], "distance of S", distance);
        }
    }
}

Test(distance, only_even_symbols_are_selected) {
    eab_level level = family_level("distance", published);
    level.option[EAB_DISTANCE_OPS] = EAB_DISTANCE_S;
    cr_expect_gt(count_windows(&level).scored, 20000);
}

/* A window that can hardly hold a pair begins with one, if need be. */
Test(distance, every_sequence_has_a_scored_token) {
    const eab_level level = family_level("distance", "ops=1 distance_min=18 distance_max=18");
    int64_t begun = 0;
    for (uint64_t index = 0; index < 500; index++) {
        family_sequence sequence;
        int32_t scored = 0;
        family_draw(&level, (uint32_t)(index % 3), index, 25, &sequence);
        for (int32_t t = 0; t < 25; t++) scored += sequence.determined[t];
        cr_assert_gt(scored, 0);
        begun += sequence.tokens[4] == 9; /* the first control of a pair after 4 items */
    }
    cr_expect_gt(begun, 250);
}

Test(distance, figures) {
    static const char *const levels[] = {
        "",
        "ops=1",
        "ops=2",
        "items=10 symbols=128 distance_min=15 distance_max=25",
        "items=10 symbols=128 distance_max=50 ops=2",
        "items=10 symbols=128 distance_max=10 ops=2 s_distance_min=40 s_distance_max=50"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("distance", levels[i]);
        const eab_task *task = eab_task_at(level.family);
        const int32_t symbols = level.option[EAB_DISTANCE_SYMBOLS];
        int64_t free_data = 0, pasted = 0;
        for (uint64_t index = 0; index < WINDOWS; index++) { /* free: after R, or at the beginning */
            family_sequence sequence;
            int32_t control = symbols;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            for (int32_t t = 0; t < LENGTH; t++) {
                if (sequence.tokens[t] >= symbols) control = sequence.tokens[t];
                else if (control == symbols) free_data++;
                else pasted++;
            }
        }
        const double bits = task->complexity_bits(&level, LENGTH - 1);
        const double measured = (double)free_data / WINDOWS * log2(symbols);
        cr_expect_leq(fabs(bits - measured), (i < 3 ? 0.15 : 0.04) * measured, "%s: %g bits, measured %g", levels[i],
                      bits, measured);
        cr_expect_gt(pasted, WINDOWS);
        cr_expect_eq(task->vocab(&level), symbols + (level.option[EAB_DISTANCE_OPS] == EAB_DISTANCE_CS ? 3 : 2));
        cr_expect_float_eq(task->chance_accuracy(&level), 1.0 / symbols, 1e-12);
    }
}

/* A model may also be evaluated at levels of one distance each. */
Test(distance, evaluated_levels) {
    const eab_level plain = family_level("distance", "");
    const eab_level level = family_level("distance", "test_distance_min=2 test_distance_max=9 items=6 ops=2");
    const eab_task *task = eab_task_at(level.family);
    char name[128];
    eab_level at;
    cr_expect_eq(task->evaluated(&plain, 0, NULL), 0);
    for (int32_t i = 0; i < 8; i++) {
        cr_expect_eq(task->evaluated(&level, i, &at), 8);
        eab_level_name(&at, name, sizeof name);
        char expected[128];
        snprintf(expected, sizeof expected, "ops=CS symbols=8 items=6 distance_min=%d distance_max=%d", i + 2, i + 2);
        cr_expect_str_eq(name, expected);
    }
}

/* The tokens are those of the level that was trained: the control of S stays. */
Test(distance, evaluated_levels_of_each_task) {
    const eab_level level =
        family_level("distance", "test_distance_min=2 test_distance_max=9 ops=2 s_distance_min=7 s_distance_max=8");
    const eab_task *task = eab_task_at(level.family);
    char name[128], token[8];
    eab_level at;
    cr_expect_eq(task->evaluated(&level, 7, &at), 16);
    eab_level_name(&at, name, sizeof name);
    cr_expect_str_eq(name, "ops=C symbols=8 items=4 distance_min=9 distance_max=9");
    cr_expect_eq(task->evaluated(&level, 8, &at), 16);
    eab_level_name(&at, name, sizeof name);
    cr_expect_str_eq(name, "ops=S symbols=8 items=4 distance_min=2 distance_max=2 s_distance_min=2 s_distance_max=2");
    cr_expect_eq(task->vocab(&at), task->vocab(&level));
    for (int32_t control = 8; control < 11; control++) {
        eab_token_name(&level, control, token, sizeof token);
        cr_expect_eq(token[0], "RCS"[control - 8]);
    }
    const window_counts counts = count_windows(&at);
    cr_expect_eq(counts.pairs[1], 0);
    cr_expect_eq(counts.pairs[2], counts.distances[2][2]);
}

Test(distance, bounds) {
    family_expect_bounds("distance", "ops", 0, 2);
    family_expect_bounds("distance", "symbols", 2, 1024);
    family_expect_bounds("distance", "items", 2, 32);
    family_expect_bounds("distance", "distance_min", 0, 65535);
    family_expect_bounds("distance", "distance_max", 0, 65535);
    family_expect_bounds("distance", "test_distance_min", 0, 65535);
    family_expect_bounds("distance", "test_distance_max", 0, 65535);
    family_expect_bounds("distance", "s_distance_min", 0, 65535);
    family_expect_bounds("distance", "s_distance_max", 0, 65535);
    family_expect_refused("distance", "ops=2 s_distance_min=3", 24, "s_distance_min = 3", "s_distance_max = 0");
    family_expect_refused("distance", "s_distance_max=3", 24, "s_distance_max = 3, ops = C", "ops = CS or S");
    family_expect_refused("distance", "ops=2 s_distance_max=3 test_distance_max=9", 24, "test_distance_min = 0",
                          "at least 1");
    family_expect_accepted("distance", "ops=2 s_distance_max=18 test_distance_min=1 test_distance_max=9", 24);
    family_expect_refused("distance", "ops=2 s_distance_max=19", 24, "context = 24", "at least 25");
    family_expect_refused("distance", "test_distance_min=3", 24, "test_distance_min = 3", "test_distance_max = 0");
    family_expect_refused("distance", "test_distance_max=127", 300, "test_distance_max = 127", "at most 127 distances");
    family_expect_accepted("distance", "test_distance_min=1 test_distance_max=127", 300);
    family_expect_refused("distance", "test_distance_max=19", 24, "context = 24", "at least 25");
    family_expect_accepted("distance", "test_distance_max=18", 24);
    family_expect_refused("distance", "distance_min=5", 24, "distance_min = 5", "distance_max = 4");
    family_expect_refused("distance", "", 9, "context = 9", "at least 10"); /* 4 + 4 + 3 tokens */
    family_expect_accepted("distance", "", 10);
    family_expect_refused("distance", "items=10", 17, "context = 17", "at least 18"); /* 18 unscored ones and one */
    family_expect_accepted("distance", "items=10", 18);
}
