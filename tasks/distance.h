/* distance: random symbols, and pairs of control tokens that ask for a copy at a distance.
 *
 * Source: Nevermann and Gros, arXiv 2609.11913. What the paper leaves open is our own: see docs/tasks.md.
 *
 * Tokens 0..symbols-1 are data. Then come the control R and those of the tasks in `ops`: C, S, or both. A sequence is a
 * window of a long one, in which tasks follow each other, each drawn uniformly:
 *
 *   R   the control, then random data
 *   C   the control, twice: the first marks the `items` data tokens before it, the second, which follows `distance`
 *       tokens later, is where they are pasted, in their order. Between the two there are R tasks only.
 *   S   as C, but only even data tokens are pasted
 *
 * The distance of each pair is uniform in distance_min..distance_max; that of a pair of S in
 * s_distance_min..s_distance_max, if given, and S then keeps the control that it has beside C, also where C is not in
 * `ops`. The amount of random or pasted data is binomial: items - 1 trials with probability 2/3. It is cut short by the
 * pair's second control, and where nothing is left to paste. The paper has 128 symbols, 10 items, hence Binomial(9,
 * 6/9), and a context of 256.
 *
 * Only pasted tokens are scored, and not those at the first 2 * (items - 1) positions (18 in the paper). Neither is one
 * whose original lies before the window; of S, where any of the `items` tokens does. So a scored token is determined,
 * given that it is data.
 *
 * With test distances, a trained model is also evaluated at each of test_distance_min..test_distance_max alone: at the
 * level whose pairs all have that distance. Where S has its own distances these are two levels, of C and of S.
 *
 * A window without a scored token is drawn again; after 15 of these, a sequence begins with
 * `items` even tokens and a pair, has no other R tasks than those in pairs, and its tasks have items - 1 tokens. */
#ifndef EAB_TASKS_DISTANCE_H
#define EAB_TASKS_DISTANCE_H

#include "draw.h"

enum {
    EAB_DISTANCE_OPS,
    EAB_DISTANCE_SYMBOLS,
    EAB_DISTANCE_ITEMS,
    EAB_DISTANCE_MIN,
    EAB_DISTANCE_MAX,
    EAB_DISTANCE_TEST_MIN,
    EAB_DISTANCE_TEST_MAX,
    EAB_DISTANCE_S_MIN,
    EAB_DISTANCE_S_MAX
};
enum { EAB_DISTANCE_C, EAB_DISTANCE_S, EAB_DISTANCE_CS };             /* ops */
enum { EAB_DISTANCE_MAX_ITEMS = 32, EAB_DISTANCE_MAX_ATTEMPTS = 16 }; /* the last one has a pair in any case */

/* The last data tokens, and their positions; negative: before the window. */
typedef struct {
    int32_t value[EAB_DISTANCE_MAX_ITEMS], place[EAB_DISTANCE_MAX_ITEMS];
} eab_distance_items;

/* Binomial(items - 1, 2/3). */
EAB_HOST_DEVICE static inline int32_t eab_distance_duration(eab_random *random, int32_t items) {
    int32_t duration = 0;
    for (int32_t i = 1; i < items; i++) duration += eab_random_below(random, 3) < 2;
    return duration;
}

/* Whether S has its own distances. */
EAB_HOST_DEVICE static inline int eab_distance_own(const eab_level *level) {
    return level->option[EAB_DISTANCE_S_MAX] > 0;
}

/* The number of a task's control behind the symbols; R has 0. */
EAB_HOST_DEVICE static inline int32_t eab_distance_control(const eab_level *level, int selective) {
    return selective && (level->option[EAB_DISTANCE_OPS] == EAB_DISTANCE_CS || eab_distance_own(level)) ? 2 : 1;
}

/* Draws one window; returns how many of its tokens are scored. */
EAB_HOST_DEVICE static inline int32_t eab_distance_window(const eab_level *level, int last_attempt, eab_random *random,
                                                          int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t ops = level->option[EAB_DISTANCE_OPS], symbols = level->option[EAB_DISTANCE_SYMBOLS];
    const int32_t items = level->option[EAB_DISTANCE_ITEMS];
    const int own = eab_distance_own(level);
    const int32_t least = level->option[EAB_DISTANCE_MIN], most = level->option[EAB_DISTANCE_MAX];
    const int32_t s_least = own ? level->option[EAB_DISTANCE_S_MIN] : least;
    const int32_t s_most = own ? level->option[EAB_DISTANCE_S_MAX] : most, longest = s_most > most ? s_most : most;
    const int32_t tasks = ops == EAB_DISTANCE_CS ? 3 : 2; /* 0: R */
    /* Up to two of the longest pairs: any phase of the tasks may be at the window's start. */
    const int32_t skipped = last_attempt ? 0 : eab_random_below(random, 2 * (longest + 3 * items));
    eab_distance_items last, source; /* last: a ring that begins at seen % items; source: of the pair, in order */
    int32_t seen = 0, scored = 0;    /* data tokens, scored tokens */
    int32_t pair = 0, gap = 0;       /* the control of the open pair, or 0; tokens up to its second control */
    int32_t task = 0, left = 0;      /* the task in force; its data tokens that are still to come */
    int32_t next = 0, selective = 0; /* of `source`: the next one to paste; whether only even ones are */
    if (last_attempt) left = items;
    for (int32_t i = 0; i < items; i++) {
        last.value[i] = source.value[i] = eab_random_below(random, symbols);
        last.place[i] = source.place[i] = -1;
    }
    for (int32_t t = -skipped; t < length; t++) {
        int32_t token;
        int is_scored = 0;
        while (task && selective && next < items && source.value[next] % 2) next++;
        if (pair && gap == 0) {
            token = symbols + pair;
            task = pair;
            pair = next = 0;
            left = last_attempt ? items - 1 : eab_distance_duration(random, items);
        } else if (left > 0 && (task == 0 || next < items)) {
            if (task == 0) {
                token = eab_random_below(random, symbols);
                if (last_attempt && t < items) token -= token % 2;
            } else {
                token = source.value[next];
                is_scored = t >= 2 * (items - 1) && source.place[selective ? 0 : next] >= 0;
                next++;
            }
            last.value[seen % items] = token;
            last.place[seen % items] = t;
            seen++;
            left--;
            gap--;
        } else {
            task = pair ? 0 : last_attempt ? 1 + eab_random_below(random, tasks - 1) : eab_random_below(random, tasks);
            token = symbols;
            if (task) {
                selective = task == 2 || ops == EAB_DISTANCE_S;
                pair = eab_distance_control(level, selective);
                token += pair;
                gap = selective ? s_least + eab_random_below(random, s_most - s_least + 1)
                                : least + eab_random_below(random, most - least + 1);
                for (int32_t i = 0; i < items; i++) {
                    source.value[i] = last.value[(seen + i) % items];
                    source.place[i] = last.place[(seen + i) % items];
                }
                task = left = 0; /* R tasks follow */
            } else {
                left = last_attempt ? items - 1 : eab_distance_duration(random, items);
                gap--;
            }
        }
        if (t < 0) continue;
        tokens[t] = token;
        determined[t] = (uint8_t)is_scored;
        scored += is_scored;
    }
    return scored;
}

EAB_HOST_DEVICE static inline void eab_distance_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                         int32_t length, int32_t *tokens, uint8_t *determined) {
    (void)stream;
    for (int attempt = 1; attempt <= EAB_DISTANCE_MAX_ATTEMPTS; attempt++)
        if (eab_distance_window(level, attempt == EAB_DISTANCE_MAX_ATTEMPTS, random, length, tokens, determined)) break;
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

enum { DISTANCE_MAX_TESTS = 127 }; /* twice where S has its own distances: at most EAB_MAX_EVALUATED */

static int32_t distance_vocab(const eab_level *level) {
    return level->option[EAB_DISTANCE_SYMBOLS] + 1 + eab_distance_control(level, level->option[EAB_DISTANCE_OPS] > 0);
}

/* An estimate: log2(symbols) times the mean number of free data tokens. A task has 2/3 (items - 1) of them on average,
 * those of S no more than half of the items. A pair has those of the R tasks between its controls. Up to 15 % too many
 * at distances of a few tokens, within 4 % at the paper's. */
static double distance_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t ops = level->option[EAB_DISTANCE_OPS], items = level->option[EAB_DISTANCE_ITEMS];
    const double copied = 0.5 * (level->option[EAB_DISTANCE_MIN] + (double)level->option[EAB_DISTANCE_MAX]);
    const double selected_at =
        eab_distance_own(level) ? 0.5 * (level->option[EAB_DISTANCE_S_MIN] + (double)level->option[EAB_DISTANCE_S_MAX])
                                : copied;
    const double distance = ops == EAB_DISTANCE_C   ? copied
                            : ops == EAB_DISTANCE_S ? selected_at
                                                    : 0.5 * (copied + selected_at);
    const double duration = 2.0 / 3 * (items - 1), selected = fmin(duration, 0.5 * items);
    const double pasted = ops == EAB_DISTANCE_C   ? duration
                          : ops == EAB_DISTANCE_S ? selected
                                                  : 0.5 * (duration + selected);
    const double pairs = ops == EAB_DISTANCE_CS ? 2 : 1; /* for each R task outside of pairs */
    const double free = duration + pairs * distance * duration / (1 + duration);
    const double all = 1 + duration + pairs * (2 + distance + pasted);
    return (context + 1) * free / all * log2(level->option[EAB_DISTANCE_SYMBOLS]);
}

/* A uniform guess among the data tokens. */
static double distance_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_DISTANCE_SYMBOLS]; }

static bool distance_check_own(const eab_level *level, char *message, size_t size) {
    const int32_t least = level->option[EAB_DISTANCE_S_MIN], most = level->option[EAB_DISTANCE_S_MAX];
    const int32_t ops = level->option[EAB_DISTANCE_OPS];
    if (least > most)
        snprintf(message, size,
                 "s_distance_min = %d, s_distance_max = %d; allowed: s_distance_min at most s_distance_max", least,
                 most);
    else if (most && ops == EAB_DISTANCE_C)
        snprintf(message, size, "s_distance_max = %d, ops = C; allowed: distances of S with ops = CS or S", most);
    else if (most && level->option[EAB_DISTANCE_TEST_MAX] && level->option[EAB_DISTANCE_TEST_MIN] == 0)
        snprintf(message, size, "test_distance_min = 0, s_distance_max = %d; allowed: test_distance_min at least 1",
                 most);
    else return true;
    return false;
}

static bool distance_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t least = level->option[EAB_DISTANCE_MIN], most = level->option[EAB_DISTANCE_MAX];
    const int32_t test_least = level->option[EAB_DISTANCE_TEST_MIN], test_most = level->option[EAB_DISTANCE_TEST_MAX];
    const int32_t items = level->option[EAB_DISTANCE_ITEMS], s_most = level->option[EAB_DISTANCE_S_MAX];
    if (least > most) {
        snprintf(message, size, "distance_min = %d, distance_max = %d; allowed: distance_min at most distance_max",
                 least, most);
        return false;
    }
    if (!distance_check_own(level, message, size)) return false;
    if (test_least > test_most || test_most - test_least >= DISTANCE_MAX_TESTS) {
        snprintf(message, size,
                 "test_distance_min = %d, test_distance_max = %d; allowed: test_distance_min at most "
                 "test_distance_max, and at most %d distances",
                 test_least, test_most, DISTANCE_MAX_TESTS);
        return false;
    }
    const int64_t trained = s_most > most ? s_most : most, longest = test_most > trained ? test_most : trained;
    const int64_t scored = 2 * (int64_t)items - 1, pair = items + longest + 3;
    return eab_check_length(pair > scored ? pair : scored, context,
                            "the items, a pair at the longest distance and a scored token", message, size);
}

/* Where S has its own distances: the levels of C, then those of S. */
static int32_t distance_evaluated(const eab_level *level, int32_t index, eab_level *evaluated) {
    const int32_t least = level->option[EAB_DISTANCE_TEST_MIN], most = level->option[EAB_DISTANCE_TEST_MAX];
    const int32_t count = most ? most - least + 1 : 0, distance = least + index % (count ? count : 1);
    const int both = eab_distance_own(level) && level->option[EAB_DISTANCE_OPS] == EAB_DISTANCE_CS;
    if (evaluated) {
        *evaluated = *level;
        evaluated->option[EAB_DISTANCE_TEST_MIN] = evaluated->option[EAB_DISTANCE_TEST_MAX] = 0;
        evaluated->option[EAB_DISTANCE_MIN] = evaluated->option[EAB_DISTANCE_MAX] = distance;
        if (eab_distance_own(level))
            evaluated->option[EAB_DISTANCE_S_MIN] = evaluated->option[EAB_DISTANCE_S_MAX] = distance;
        if (both) {
            evaluated->option[EAB_DISTANCE_OPS] = index < count ? EAB_DISTANCE_C : EAB_DISTANCE_S;
            if (index < count) evaluated->option[EAB_DISTANCE_S_MIN] = evaluated->option[EAB_DISTANCE_S_MAX] = 0;
        }
    }
    return both ? 2 * count : count;
}

static void distance_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t control = token - level->option[EAB_DISTANCE_SYMBOLS];
    if (control < 0) snprintf(name, size, "%d", token);
    else snprintf(name, size, "%c", "RCS"[control && level->option[EAB_DISTANCE_OPS] == EAB_DISTANCE_S ? 2 : control]);
}

static const char *const distance_ops[] = {"C", "S", "CS", NULL};

/* The token that is copied. */
static void distance_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    const int32_t symbols = level->option[EAB_DISTANCE_SYMBOLS], items = level->option[EAB_DISTANCE_ITEMS];
    int32_t second = target - 1;
    while (tokens[second] < symbols) second--;
    int32_t wanted = target - 1 - second; /* tokens pasted before the target */
    int32_t begin = second - 1;           /* becomes the first of the items */
    while (tokens[begin] <= symbols) begin--;
    int32_t missing = items;
    while (missing > 0 && begin > 0) missing -= tokens[--begin] < symbols;
    const int selective = tokens[second] == symbols + 2 || level->option[EAB_DISTANCE_OPS] == EAB_DISTANCE_S;
    wanted -= missing; /* items before the window: only C tasks are scored then */
    for (int32_t i = begin;; i++) {
        if (tokens[i] >= symbols || (selective && tokens[i] % 2) || wanted-- > 0) continue;
        positions[i] = 1;
        return;
    }
}

static const eab_task distance_task = {
    .name = "distance",
    .summary = "random symbols, and pairs of controls: what came before the first is pasted after the second",
    .options = {{"ops", EAB_DISTANCE_C, 0, 2, true, "tasks besides random symbols: C copy, S copy the even ones",
                 distance_ops},
                {"symbols", 8, 2, 1024, true, "how many symbols there are", NULL},
                {"items", 4, 2, EAB_DISTANCE_MAX_ITEMS, true, "symbols before a pair that are copied", NULL},
                {"distance_min", 0, 0, 65535, true, "fewest tokens between the controls of a pair", NULL},
                {"distance_max", 4, 0, 65535, true, "most tokens between the controls of a pair", NULL},
                {"test_distance_min", 0, 0, 65535, false, "a trained model is evaluated at each distance from this",
                 NULL},
                {"test_distance_max", 0, 0, 65535, false, "to this, a row for each; 0: only as trained", NULL},
                {"s_distance_min", 0, 0, 65535, false, "fewest tokens between the controls of a pair of S", NULL},
                {"s_distance_max", 0, 0, 65535, false, "most of them; 0: distances as those of C", NULL}},
    .option_count = 9,
    .later_count = 2,
    .vocab = distance_vocab,
    .complexity_bits = distance_complexity_bits,
    .chance_accuracy = distance_chance_accuracy,
    .check = distance_check,
    .determining = distance_determining,
    .evaluated = distance_evaluated,
    .token_name = distance_token_name,
};
#endif

#endif
