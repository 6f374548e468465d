/* Philox4x32-10 against the known answers that its authors published with Random123 (kat_vectors). */
#include <criterion/criterion.h>

#include "tasks/philox.h"

typedef struct {
    uint32_t counter[4], key[2], expected[4];
} known_answer;

static const known_answer answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

Test(philox, known_answers) {
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const known_answer *a = &answers[i];
        const eab_philox_block counter = {{a->counter[0], a->counter[1], a->counter[2], a->counter[3]}};
        const eab_philox_block block = eab_philox(counter, a->key[0], a->key[1]);
        for (int word = 0; word < 4; word++)
            cr_expect_eq(block.word[word], a->expected[word], "vector %zu, word %d: %08x", i, word, block.word[word]);
    }
}

Test(philox, cursor_hands_out_the_blocks_in_order) {
    eab_random random = eab_random_at(1, 2, 3, 4, 5);
    for (uint32_t block = 0; block < 3; block++) {
        const eab_philox_block expected = eab_philox((eab_philox_block){{block, 3, 4, 5}}, 1, 2);
        for (int word = 0; word < 4; word++) cr_expect_eq(eab_random_word(&random), expected.word[word]);
    }
}

/* Chi-squared with 9 degrees of freedom: above 33.7 with probability 1e-4. The draws are fixed, so the result is always
 * the same. */
Test(philox, below_is_uniform) {
    enum { BOUND = 10, DRAWS = 100000 };
    int count[BOUND] = {0};
    double chi_squared = 0;
    eab_random random = eab_random_at(0, 0, 0, 0, 0);
    for (int i = 0; i < DRAWS; i++) {
        const int32_t value = eab_random_below(&random, BOUND);
        cr_assert(value >= 0 && value < BOUND);
        count[value]++;
    }
    for (int i = 0; i < BOUND; i++) {
        const double difference = count[i] - (double)DRAWS / BOUND;
        chi_squared += difference * difference / ((double)DRAWS / BOUND);
    }
    cr_expect_lt(chi_squared, 33.7);
}
