/* flip_flop: write, read and ignore instructions, each with a bit; a read returns the bit written last.
 *
 * Source: the flip-flop language of Liu et al., arXiv 2306.00946. There sequences of 512 tokens are drawn with
 * ignore_percent = 80 for training, and 80, 98 (sparse) and 10 (dense) for evaluation.
 *
 * Tokens 0 and 1 are bits, then the instructions `w`, `r` and `i`. A sequence is as many pairs of an instruction and a
 * bit as fit. The first instruction is `w`, the last is `r`; each other is `i` with probability ignore_percent, and
 * otherwise `w` or `r` with equal probability. After `w` and `i` stands a random bit, after `r` the bit of the last
 * `w`. Only the bits after `r` are determined. A token left over is an `i`.
 *
 * Evaluation draws instructions with test_ignore, where that is above 0.
 */
#ifndef EAB_TASKS_FLIP_FLOP_H
#define EAB_TASKS_FLIP_FLOP_H

#include "draw.h"

enum { EAB_FLIP_FLOP_IGNORE_PERCENT, EAB_FLIP_FLOP_TEST_IGNORE };
enum { EAB_FLIP_FLOP_WRITE = 2, EAB_FLIP_FLOP_READ, EAB_FLIP_FLOP_IGNORE };

EAB_HOST_DEVICE static inline void eab_flip_flop_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                          int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t test = level->option[EAB_FLIP_FLOP_TEST_IGNORE], last = length / 2 * 2 - 2;
    const int32_t ignore =
        stream != EAB_STREAM_TRAINING && test > 0 ? test : level->option[EAB_FLIP_FLOP_IGNORE_PERCENT];
    int32_t instruction = EAB_FLIP_FLOP_IGNORE, written = 0;
    for (int32_t t = 0; t < length; t++) {
        determined[t] = 0;
        if (t % 2 == 0) {
            if (t == 0) instruction = EAB_FLIP_FLOP_WRITE;
            else if (t == last) instruction = EAB_FLIP_FLOP_READ;
            else if (t > last || eab_random_below(random, 100) < ignore) instruction = EAB_FLIP_FLOP_IGNORE;
            else instruction = EAB_FLIP_FLOP_WRITE + eab_random_below(random, 2);
            tokens[t] = instruction;
        } else if (instruction == EAB_FLIP_FLOP_READ) {
            tokens[t] = written;
            determined[t] = 1;
        } else {
            tokens[t] = eab_random_below(random, 2);
            if (instruction == EAB_FLIP_FLOP_WRITE) written = tokens[t];
        }
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t flip_flop_vocab(const eab_level *level) {
    (void)level;
    return EAB_FLIP_FLOP_IGNORE + 1;
}

/* Two bits for the first `w`, and five pairs (w0, w1, i0, i1, r) for each but the first and the last. */
static double flip_flop_complexity_bits(const eab_level *level, int32_t context) {
    (void)level;
    return 1 + ((context + 1) / 2 - 2) * log2(5);
}

static double flip_flop_chance_accuracy(const eab_level *level) {
    (void)level;
    return 0.5;
}

static bool flip_flop_check(const eab_level *level, int32_t context, char *message, size_t size) {
    (void)level;
    return eab_check_length(4, context, "a write and a read", message, size);
}

static void flip_flop_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    (void)level;
    snprintf(name, size, "%c", "01wri"[token]);
}

/* The bit written last. */
static void flip_flop_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    int32_t write = target - 1;
    (void)level;
    while (write > 0 && tokens[write] != EAB_FLIP_FLOP_WRITE) write--;
    positions[write + 1] = 1;
}

static const eab_task flip_flop_task = {
    .name = "flip_flop",
    .summary = "write, read and ignore instructions, each with a bit: a read returns the bit written last",
    .options = {{"ignore_percent", 80, 1, 99, true, "probability of an ignore instruction, in percent", NULL},
                {"test_ignore", 0, 0, 99, false, "the same in evaluation, in percent; 0: as in training", NULL}},
    .option_count = 2,
    .later_count = 2,
    .vocab = flip_flop_vocab,
    .complexity_bits = flip_flop_complexity_bits,
    .chance_accuracy = flip_flop_chance_accuracy,
    .check = flip_flop_check,
    .determining = flip_flop_determining,
    .token_name = flip_flop_token_name,
};
#endif

#endif
