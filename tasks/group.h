/* group: words of a group, and their product.
 *
 * Source: the word problem as in Merrill, Petty, Sabharwal, arXiv 2404.08819: elements drawn uniformly, and as output
 * at each place the product of the elements so far. By Barrington's theorem the words of A5, which is not solvable, are
 * as hard as anything that circuits of logarithmic depth compute; those of S3, which is solvable, need constant depth
 * with counters. There the output is not fed back; here that is `answer = final`.
 *
 * Tokens 0..order-1 are the elements: the permutations of 3 points (S3, 6 of them) or the even ones of 5 points (A5,
 * 60), in lexicographic order and shown by their images, such as 120 for 0 -> 1, 1 -> 2, 2 -> 0; then comes `=`. A
 * product a b acts by a first. A block is `length` random elements, `=`, and the answer:
 *
 *   answer = final     the product of all
 *   answer = running   `length` answers, the k-th the product of the first k elements
 *
 * A sequence is as many whole blocks as fit; the remaining tokens are `=`. Answers are determined, everything else is
 * not scored.
 */
#ifndef EAB_TASKS_GROUP_H
#define EAB_TASKS_GROUP_H

#include "draw.h"

enum { EAB_GROUP_GROUP, EAB_GROUP_LENGTH, EAB_GROUP_ANSWER };
enum { EAB_GROUP_S3, EAB_GROUP_A5 };
enum { EAB_GROUP_FINAL, EAB_GROUP_RUNNING };

EAB_HOST_DEVICE static inline int32_t eab_group_points(int32_t group) { return group == EAB_GROUP_A5 ? 5 : 3; }
EAB_HOST_DEVICE static inline int32_t eab_group_order(int32_t group) { return group == EAB_GROUP_A5 ? 60 : 6; }

/* How many images are free: the parity fixes the last two of an even permutation, and the last one is always left. */
EAB_HOST_DEVICE static inline int32_t eab_group_free_images(int32_t group) { return group == EAB_GROUP_A5 ? 3 : 2; }

/* The images of element `index`, that of point i in bits 4 i to 4 i + 3. */
EAB_HOST_DEVICE static inline int32_t eab_group_images(int32_t group, int32_t index) {
    const int32_t points = eab_group_points(group), free_images = eab_group_free_images(group);
    int32_t unused = 0x43210, weight = eab_group_order(group), images = 0, inversions = 0;
    for (int32_t i = 0; i < points; i++) {
        int32_t digit = i == points - 2 ? inversions % 2 : 0; /* which of the unused images, in ascending order */
        if (i < free_images) {
            weight /= points - i;
            digit = index / weight;
            index %= weight;
        }
        inversions += digit;
        images |= (unused >> 4 * digit & 15) << 4 * i;
        const int32_t below = (1 << 4 * digit) - 1;
        unused = (unused & below) | (unused >> 4 & ~below);
    }
    return images;
}

/* The product of elements a and b, which acts by a first. */
EAB_HOST_DEVICE static inline int32_t eab_group_product(int32_t group, int32_t a, int32_t b) {
    const int32_t points = eab_group_points(group);
    const int32_t first = eab_group_images(group, a), second = eab_group_images(group, b);
    int32_t images = 0, index = 0;
    for (int32_t i = 0; i < points; i++) images |= (second >> 4 * (first >> 4 * i & 15) & 15) << 4 * i;
    for (int32_t i = 0; i < eab_group_free_images(group); i++) {
        int32_t digit = 0; /* smaller images of later points */
        for (int32_t j = i + 1; j < points; j++) digit += (images >> 4 * j & 15) < (images >> 4 * i & 15);
        index = index * (points - i) + digit;
    }
    return index;
}

EAB_HOST_DEVICE static inline int32_t eab_group_block_length(const eab_level *level) {
    const int32_t length = level->option[EAB_GROUP_LENGTH];
    return length + 1 + (level->option[EAB_GROUP_ANSWER] == EAB_GROUP_FINAL ? 1 : length);
}

EAB_HOST_DEVICE static inline void eab_group_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                      int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t group = level->option[EAB_GROUP_GROUP], word = level->option[EAB_GROUP_LENGTH];
    const int32_t taken_at_once = level->option[EAB_GROUP_ANSWER] == EAB_GROUP_FINAL ? word : 1;
    const int32_t block = eab_group_block_length(level), end = length - length % block;
    int32_t product = 0, source = 0; /* source: the next element of the word */
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        const int32_t place = t % block;
        if (place == 0) {
            product = 0;
            source = t;
        }
        determined[t] = t < end && place > word;
        if (determined[t]) {
            for (int32_t i = 0; i < taken_at_once; i++) product = eab_group_product(group, product, tokens[source++]);
            tokens[t] = product;
        } else if (t < end && place < word) tokens[t] = eab_random_below(random, eab_group_order(group));
        else tokens[t] = eab_group_order(group);
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t group_vocab(const eab_level *level) { return eab_group_order(level->option[EAB_GROUP_GROUP]) + 1; }

/* order^length words in each block. */
static double group_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t blocks = (context + 1) / eab_group_block_length(level);
    return blocks * level->option[EAB_GROUP_LENGTH] * log2(eab_group_order(level->option[EAB_GROUP_GROUP]));
}

/* A uniform guess among the elements. */
static double group_chance_accuracy(const eab_level *level) {
    return 1.0 / eab_group_order(level->option[EAB_GROUP_GROUP]);
}

static bool group_check(const eab_level *level, int32_t context, char *message, size_t size) {
    return eab_check_length(eab_group_block_length(level), context, "a word and its answer", message, size);
}

static void group_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t group = level->option[EAB_GROUP_GROUP];
    const int32_t images = token < eab_group_order(group) ? eab_group_images(group, token) : 0;
    if (token == eab_group_order(group)) snprintf(name, size, "=");
    else if (group == EAB_GROUP_S3) snprintf(name, size, "%d%d%d", images & 15, images >> 4 & 15, images >> 8);
    else
        snprintf(name, size, "%d%d%d%d%d", images & 15, images >> 4 & 15, images >> 8 & 15, images >> 12 & 15,
                 images >> 16);
}

static const char *const group_groups[] = {"S3", "A5", NULL};
static const char *const group_answers[] = {"final", "running", NULL};

/* Final: the whole word. Running: the answer before and the next element. */
static void group_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    const bool final = level->option[EAB_GROUP_ANSWER] == EAB_GROUP_FINAL;
    const int32_t word = level->option[EAB_GROUP_LENGTH], begin = target - target % eab_group_block_length(level);
    const int32_t answers = target - begin - word - 1; /* before it */
    (void)tokens;
    for (int32_t i = 0; i < word; i++) positions[begin + i] = final || i == answers;
    if (answers > 0) positions[target - 1] = 1;
}

static const eab_task group_task = {
    .name = "group",
    .summary = "words of a group of permutations, S3 or A5, followed by the product of their elements",
    .options = {{"group", EAB_GROUP_S3, 0, 1, true, "all permutations of 3 points, or the even ones of 5",
                 group_groups},
                {"length", 3, 2, 4096, true, "elements of a word", NULL},
                {"answer", EAB_GROUP_FINAL, 0, 1, true, "the product of the word, or every partial product",
                 group_answers}},
    .option_count = 3,
    .later_count = 3,
    .vocab = group_vocab,
    .complexity_bits = group_complexity_bits,
    .chance_accuracy = group_chance_accuracy,
    .check = group_check,
    .determining = group_determining,
    .token_name = group_token_name,
};
#endif

#endif
