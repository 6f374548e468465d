/* compression: random symbols and a signal, after which each position is asked for its symbol.
 *
 * Source: the compression task of MAD (Poli et al., arXiv 2403.17844; github.com/athms/mad-lab): 31 random symbols of
 * 15 and a compression token, 32 tokens. There an encoder's output at the compression token, with the embedding of each
 * position in turn, is decoded into the symbol at that position. A task cannot hide the symbols from attention: here
 * the questions follow the signal, and access by position is measured, whether or not by way of the signal.
 *
 * Tokens are the symbols, then the positions (shown as @0, @1, ...), then the signal `>`. A block is `items` symbols,
 * the signal, and the positions of the block in random order, each followed by the symbol at that position. A sequence
 * is as many whole blocks as fit; the remaining tokens are `>`. The symbols after positions are determined, everything
 * else is not scored.
 */
#ifndef EAB_TASKS_COMPRESSION_H
#define EAB_TASKS_COMPRESSION_H

#include "draw.h"

enum { EAB_COMPRESSION_SYMBOLS, EAB_COMPRESSION_ITEMS };

EAB_HOST_DEVICE static inline void eab_compression_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                            int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t symbols = level->option[EAB_COMPRESSION_SYMBOLS], items = level->option[EAB_COMPRESSION_ITEMS];
    const int32_t block = 3 * items + 1;
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = symbols + items;
        determined[t] = 0;
    }
    for (int32_t first = 0; first + block <= length; first += block) {
        int32_t *shown = tokens + first, *asked = shown + items + 1;
        for (int32_t i = 0; i < items; i++) {
            shown[i] = eab_random_below(random, symbols);
            asked[2 * i] = i;
        }
        for (int32_t i = items - 1; i >= 0; i--) {
            const int32_t other = eab_random_below(random, i + 1), position = asked[2 * other];
            asked[2 * other] = asked[2 * i];
            asked[2 * i] = symbols + position;
            asked[2 * i + 1] = shown[position];
            determined[first + items + 2 + 2 * i] = 1;
        }
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t compression_vocab(const eab_level *level) {
    return level->option[EAB_COMPRESSION_SYMBOLS] + level->option[EAB_COMPRESSION_ITEMS] + 1;
}

/* A block has symbols^items symbols and items! orders of the positions. */
static double compression_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t items = level->option[EAB_COMPRESSION_ITEMS], blocks = (context + 1) / (3 * items + 1);
    double bits = items * log2(level->option[EAB_COMPRESSION_SYMBOLS]);
    for (int32_t i = 2; i <= items; i++) bits += log2(i);
    return blocks * bits;
}

/* A uniform guess among the symbols. */
static double compression_chance_accuracy(const eab_level *level) {
    return 1.0 / level->option[EAB_COMPRESSION_SYMBOLS];
}

static bool compression_check(const eab_level *level, int32_t context, char *message, size_t size) {
    return eab_check_length(3 * level->option[EAB_COMPRESSION_ITEMS] + 1, context, "a block", message, size);
}

static void compression_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t symbols = level->option[EAB_COMPRESSION_SYMBOLS], items = level->option[EAB_COMPRESSION_ITEMS];
    if (token < symbols) snprintf(name, size, "%d", token);
    else if (token < symbols + items) snprintf(name, size, "@%d", token - symbols);
    else snprintf(name, size, ">");
}

/* The symbol at the position. */
static void compression_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    const int32_t begin = target - target % (3 * level->option[EAB_COMPRESSION_ITEMS] + 1);
    positions[begin + tokens[target - 1] - level->option[EAB_COMPRESSION_SYMBOLS]] = 1;
}

static const eab_task compression_task = {
    .name = "compression",
    .summary = "random symbols, then their positions in random order, each followed by the symbol at that position",
    .options = {{"symbols", 15, 2, 1024, true, "how many symbols there are", NULL},
                {"items", 8, 1, 1024, true, "symbols of a block", NULL}},
    .option_count = 2,
    .vocab = compression_vocab,
    .complexity_bits = compression_complexity_bits,
    .chance_accuracy = compression_chance_accuracy,
    .check = compression_check,
    .determining = compression_determining,
    .token_name = compression_token_name,
};
#endif

#endif
