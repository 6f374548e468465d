/* parity: bits, some of them marked, then the running parity of the marked ones.
 *
 * Tokens 0 and 1 are bits, 2 and 3 the same bits marked (shown as 0*, 1*), 4 is the signal `>`, 5 is padding (`.`). A
 * block is
 *
 *   `bits` random bits, of which `marked`, at random places, are marked; the signal; then the answer:
 *   answer = running   `marked` bits, the k-th the parity of the first k marked ones
 *   answer = final     one bit, the parity of all marked ones
 *
 * A sequence is as many whole blocks as fit, each with its own bits and marks, then padding. Answers are determined,
 * everything else is not scored. With `running` each answer follows from the previous answer and one more marked bit;
 * with `final` there are no intermediate answers.
 */
#ifndef EAB_TASKS_PARITY_H
#define EAB_TASKS_PARITY_H

#include "draw.h"

enum { EAB_PARITY_BITS, EAB_PARITY_MARKED, EAB_PARITY_ANSWER };
enum { EAB_PARITY_RUNNING, EAB_PARITY_FINAL };
enum { EAB_PARITY_MARK = 2, EAB_PARITY_SIGNAL = 4, EAB_PARITY_FILL = 5 };

EAB_HOST_DEVICE static inline int32_t eab_parity_block_length(const eab_level *level) {
    return level->option[EAB_PARITY_BITS] + 1 +
           (level->option[EAB_PARITY_ANSWER] == EAB_PARITY_FINAL ? 1 : level->option[EAB_PARITY_MARKED]);
}

EAB_HOST_DEVICE static inline void eab_parity_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                       int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t bits = level->option[EAB_PARITY_BITS], marked = level->option[EAB_PARITY_MARKED];
    const int32_t block = eab_parity_block_length(level), end = length - length % block;
    const int final = level->option[EAB_PARITY_ANSWER] == EAB_PARITY_FINAL;
    int32_t marks_left = 0, parity = 0, source = 0; /* source: the next bit that an answer may need */
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        const int32_t place = t % block;
        if (place == 0) {
            marks_left = marked;
            parity = 0;
            source = t;
        }
        determined[t] = t < end && place > bits;
        if (t >= end) tokens[t] = EAB_PARITY_FILL;
        else if (place < bits) {
            tokens[t] = eab_random_below(random, 2);
            if (eab_random_mark(random, bits - place, marks_left)) {
                tokens[t] += EAB_PARITY_MARK;
                marks_left--;
            }
        } else if (place == bits) tokens[t] = EAB_PARITY_SIGNAL;
        else {
            for (int32_t taken = 0; taken < (final ? marked : 1); source++)
                if (tokens[source] >= EAB_PARITY_MARK) {
                    parity ^= tokens[source] - EAB_PARITY_MARK;
                    taken++;
                }
            tokens[t] = parity;
        }
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t parity_vocab(const eab_level *level) {
    (void)level;
    return EAB_PARITY_FILL + 1;
}

/* A block has 2^bits bits and C(bits, marked) places of the marks. */
static double parity_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t bits = level->option[EAB_PARITY_BITS], blocks = (context + 1) / eab_parity_block_length(level);
    return blocks * (bits + eab_log2_choose(bits, level->option[EAB_PARITY_MARKED]));
}

static double parity_chance_accuracy(const eab_level *level) {
    (void)level;
    return 0.5;
}

static bool parity_check(const eab_level *level, int32_t context, char *message, size_t size) {
    if (level->option[EAB_PARITY_MARKED] > level->option[EAB_PARITY_BITS]) {
        snprintf(message, size, "marked = %d of bits = %d; allowed: marked at most bits",
                 level->option[EAB_PARITY_MARKED], level->option[EAB_PARITY_BITS]);
        return false;
    }
    return eab_check_length(eab_parity_block_length(level), context, "a block", message, size);
}

static void parity_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    static const char *const names[] = {"0", "1", "0*", "1*", ">", "."};
    (void)level;
    snprintf(name, size, "%s", names[token]);
}

static const char *const parity_answers[] = {"running", "final", NULL};

/* Final: all marked bits. Running: the answer before and the next marked bit. */
static void parity_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    const bool final = level->option[EAB_PARITY_ANSWER] == EAB_PARITY_FINAL;
    const int32_t bits = level->option[EAB_PARITY_BITS], begin = target - target % eab_parity_block_length(level);
    const int32_t answers = target - begin - bits - 1; /* before it */
    int32_t number = 0;
    for (int32_t i = begin; i < begin + bits; i++)
        if (tokens[i] >= EAB_PARITY_MARK && (final || number++ == answers)) positions[i] = 1;
    if (answers > 0) positions[target - 1] = 1;
}

static const eab_task parity_task = {
    .name = "parity",
    .summary = "bits, some of them marked, then the running parity of the marked ones",
    .options = {{"bits", 8, 1, 4096, true, "bits of a block", NULL},
                {"marked", 3, 1, 4096, true, "how many of them are marked", NULL},
                {"answer", EAB_PARITY_RUNNING, 0, 1, true, "every partial parity, or the last one only",
                 parity_answers}},
    .option_count = 3,
    .vocab = parity_vocab,
    .complexity_bits = parity_complexity_bits,
    .chance_accuracy = parity_chance_accuracy,
    .check = parity_check,
    .determining = parity_determining,
    .token_name = parity_token_name,
};
#endif

#endif
