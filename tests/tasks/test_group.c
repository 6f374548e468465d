#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "family_fixture.h"

enum { S3 = EAB_GROUP_S3, A5 = EAB_GROUP_A5 };
static const int32_t ORDER[] = {6, 60}, POINTS[] = {3, 5};

/* The words were drawn; the products are worked out by hand: 210 120 is 0 -> 2 -> 0, 1 -> 1 -> 2, 2 -> 0 -> 1, that is
 * 021, and 021 102 is 0 -> 0 -> 1, 1 -> 2 -> 2, 2 -> 1 -> 0. */
Test(group, by_hand) {
    const eab_level final = family_level("group", ""), running = family_level("group", "group=1 length=3 answer=1");
    family_expect_sequence(&final, EAB_STREAM_TRAINING, 0,
                           "[210] [120] [102] [=] 120 [102] [021] [201] [=] 120 [021] [201] [102] [=] 201 [201] [012] "
                           "[021] [=] 102 [201] [012] [210] [=] 021");
    family_expect_sequence(
        &running, EAB_STREAM_TRAINING, 0,
        "[23401] [04321] [34201] [=] 23401 32104 02431 [41203] [10243] [23014] [=] 41203 30214 12034 "
        "[34120] [01423] [32041] [=] 34120 23140 04213 [=] [=] [=] [=]");
}

/* The elements are all (even) permutations in lexicographic order. */
Test(group, elements) {
    for (int32_t group = S3; group <= A5; group++) {
        eab_level level = family_level("group", "");
        level.option[EAB_GROUP_GROUP] = group;
        int32_t index = 0;
        for (int32_t number = 0; number < 55555; number++) { /* in base 10, so in lexicographic order */
            char digits[16], name[32];
            int count[10] = {0}, inversions = 0;
            bool permutation = true;
            snprintf(digits, sizeof digits, "%0*d", POINTS[group], number);
            if ((int)strlen(digits) != POINTS[group]) break;
            for (int i = 0; i < POINTS[group]; i++) {
                permutation = permutation && digits[i] - '0' < POINTS[group] && count[digits[i] - '0']++ == 0;
                for (int j = 0; j < i; j++) inversions += digits[j] > digits[i];
            }
            if (!permutation || (group == A5 && inversions % 2)) continue;
            eab_token_name(&level, index++, name, sizeof name);
            cr_expect_str_eq(name, digits);
        }
        cr_expect_eq(index, ORDER[group]);
    }
}

static int32_t order_of(int32_t group, int32_t element) {
    int32_t order = 1;
    for (int32_t power = element; power != 0; order++) power = eab_group_product(group, power, element);
    return order;
}

/* The number of elements that products of commutators a b a^-1 b^-1 reach. */
static int commutator_subgroup(int32_t group) {
    const int32_t order = ORDER[group];
    int32_t inverse[60] = {0};
    bool in[60] = {true}, grows = true;
    int size = 0;
    for (int32_t a = 0; a < order; a++)
        for (int32_t b = 0; b < order; b++)
            if (eab_group_product(group, a, b) == 0) inverse[a] = b;
    for (int32_t a = 0; a < order; a++)
        for (int32_t b = 0; b < order; b++)
            in[eab_group_product(group, eab_group_product(group, a, b),
                                 eab_group_product(group, inverse[a], inverse[b]))] = true;
    while (grows) {
        grows = false;
        for (int32_t a = 0; a < order; a++)
            for (int32_t b = 0; b < order; b++)
                if (in[a] && in[b] && !in[eab_group_product(group, a, b)])
                    grows = in[eab_group_product(group, a, b)] = true;
    }
    for (int32_t a = 0; a < order; a++) size += in[a];
    return size;
}

/* Known of these groups: S3 has 1, 3 and 2 elements of orders 1, 2, 3; A5 has 1, 15, 20 and 24 of orders 1, 2, 3 and 5.
 * The commutator subgroup of S3 is A3; A5 is its own, so it is not solvable. */
Test(group, known_facts) {
    int orders[2][6] = {{0}};
    for (int32_t group = S3; group <= A5; group++)
        for (int32_t a = 0; a < ORDER[group]; a++) {
            cr_assert(eab_group_product(group, 0, a) == a && eab_group_product(group, a, 0) == a);
            const int32_t order = order_of(group, a);
            cr_assert_leq(order, 5);
            orders[group][order]++;
            for (int32_t b = 0; b < ORDER[group]; b++)
                for (int32_t c = 0; c < ORDER[group]; c += 7)
                    cr_assert_eq(eab_group_product(group, eab_group_product(group, a, b), c),
                                 eab_group_product(group, a, eab_group_product(group, b, c)));
        }
    const int expected[2][6] = {{0, 1, 3, 2, 0, 0}, {0, 1, 15, 20, 0, 24}};
    cr_expect_arr_eq(orders, expected, sizeof expected);
    cr_expect_eq(commutator_subgroup(S3), 3);
    cr_expect_eq(commutator_subgroup(A5), 60);
}

/* Products by following every point through the names of the elements. */
Test(group, answers_are_products) {
    static const char *const levels[] = {"", "answer=1", "group=1 length=5", "group=1 length=7 answer=1", "length=30"};
    enum { LENGTH = 40 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("group", levels[i]);
        const int32_t group = level.option[0], word = level.option[1], running = level.option[2];
        const int32_t answers = running ? word : 1, block = word + 1 + answers;
        for (uint64_t index = 0; index < 200; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            int32_t first = 0;
            for (; first + block <= LENGTH; first += block)
                for (int32_t answer = 0; answer < answers; answer++) {
                    char product[] = "01234", name[32];
                    product[POINTS[group]] = '\0';
                    for (int32_t j = 0; j < (running ? answer + 1 : word); j++) {
                        eab_token_name(&level, sequence.tokens[first + j], name, sizeof name);
                        for (int k = 0; k < POINTS[group]; k++) product[k] = name[product[k] - '0'];
                    }
                    eab_token_name(&level, sequence.tokens[first + word + 1 + answer], name, sizeof name);
                    cr_assert_str_eq(name, product);
                }
            for (int32_t t = 0; t < LENGTH; t++) {
                const bool in_block = t < first;
                cr_assert_eq(sequence.determined[t], in_block && t % block > word);
                if (!in_block || t % block == word) cr_assert_eq(sequence.tokens[t], ORDER[group]);
            }
        }
    }
}

/* Elements, and so products, are uniform: 12,000 words of two. */
Test(group, elements_and_products_are_uniform) {
    for (int32_t group = S3; group <= A5; group++) {
        eab_level level = family_level("group", "length=2");
        level.option[EAB_GROUP_GROUP] = group;
        int count[3][60] = {{0}};
        const double p = 1.0 / ORDER[group], sigma = sqrt(12000 * p * (1 - p));
        for (uint64_t index = 0; index < 12000; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, 4, &sequence);
            count[0][sequence.tokens[0]]++;
            count[1][sequence.tokens[1]]++;
            count[2][sequence.tokens[3]]++;
        }
        for (int i = 0; i < 3; i++)
            for (int32_t a = 0; a < ORDER[group]; a++) cr_expect_lt(fabs(count[i][a] - 12000 * p), 5 * sigma);
    }
}

Test(group, figures) {
    const eab_level s3 = family_level("group", "length=2"), a5 = family_level("group", "group=1 length=2 answer=1");
    const eab_task *task = eab_task_at(s3.family);
    cr_expect_float_eq(task->complexity_bits(&s3, 6), log2(36), 1e-9);
    cr_expect_float_eq(task->complexity_bits(&s3, 7), 2 * log2(36), 1e-9);
    cr_expect_float_eq(task->complexity_bits(&a5, 4), log2(3600), 1e-9);
    cr_expect_eq(family_count_distinct(&s3, EAB_STREAM_TRAINING, 7, 2000), 36);
    cr_expect_eq(family_count_distinct(&a5, EAB_STREAM_TRAINING, 5, 60000), 3600);
    cr_expect(task->vocab(&s3) == 7 && task->vocab(&a5) == 61);
    cr_expect_float_eq(task->chance_accuracy(&a5), 1.0 / 60, 1e-12);
}

Test(group, bounds) {
    family_expect_bounds("group", "group", 0, 1);
    family_expect_bounds("group", "length", 2, 4096);
    family_expect_bounds("group", "answer", 0, 1);
    family_expect_refused("group", "length=23", 23, "context = 23", "at least 24");
    family_expect_accepted("group", "length=23", 24);
    family_expect_refused("group", "length=13 answer=1", 24, "context = 24", "at least 26");
    family_expect_accepted("group", "length=12 answer=1", 24);
}
