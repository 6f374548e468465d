/* Attention's prefetches (kernels/cpu/prefetch.h): every cache line of the next block and few others, before the block
 * begins. Only the last lines of the last matrix may come in the next block, since a product prefetches one line for
 * each of its terms. test_attention.c checks that prefetching changes no result. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "kernels/cpu/prefetch.h"

enum { MATRICES = 4, MOST = 64, LINE_FLOATS = PREFETCH_LINE / sizeof(float) };

typedef struct {
    eab_attention_args args;
    float *memory;
    int64_t floats; /* of a matrix */
    int *count;     /* how often each line of all matrices was prefetched */
    row_prefetch ahead;
} problem;

static problem problem_new(int32_t batch, int32_t heads, int32_t context, int32_t head_dim) {
    const int64_t head = (int64_t)context * head_dim;
    problem p = {.args = {.batch = batch,
                          .heads = heads,
                          .context = context,
                          .head_dim = head_dim,
                          .standalone = true,
                          .in_time = head_dim,
                          .in_head = head,
                          .in_batch = head * heads,
                          .out_time = head_dim,
                          .out_head = head,
                          .out_batch = head * heads},
                 .floats = (head * heads * batch + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS};
    p.memory = aligned_alloc(PREFETCH_LINE, (size_t)(MATRICES * p.floats) * sizeof *p.memory);
    p.count = calloc((size_t)(MATRICES * p.floats / LINE_FLOATS), sizeof *p.count);
    cr_assert(p.memory && p.count);
    for (int64_t i = 0; i < MATRICES * p.floats; i++) p.memory[i] = 0;
    return p;
}

static void problem_start(problem *p) {
    p->ahead = (row_prefetch){.args = &p->args};
    for (int i = 0; i < MATRICES; i++) prefetch_matrix(&p->ahead, p->memory + i * p->floats);
}

static void problem_free(problem *p) {
    free(p->memory);
    free(p->count);
}

static void reset_counts(problem *p) {
    for (int64_t i = 0; i < MATRICES * p->floats / LINE_FLOATS; i++) p->count[i] = 0;
}

/* The products of a block as tiles of 8 x 2 vectors: `work` multiply-adds in all. */
static void multiply(problem *p, double work, int32_t depth) {
    const char *const memory = (const char *)p->memory;
    for (double done = 0; done < work; done += 16.0 * EAB_LANES * depth) {
        prefetch_walk walk = prefetch_pace(&p->ahead, 16, depth);
        for (int32_t k = 0; k < depth && walk.step; k++, walk.line += walk.step) {
            const int64_t byte = walk.line - memory;
            cr_assert(walk.step > 0 && walk.step <= 2 * PREFETCH_LINE, "a step of %ld", (long)walk.step);
            for (int64_t line = byte; line < byte + walk.step && line <= byte + PREFETCH_LINE; line += PREFETCH_LINE)
                if (line < MATRICES * p->floats * (int64_t)sizeof(float)) p->count[line / PREFETCH_LINE]++;
            cr_expect(byte < MATRICES * p->floats * (int64_t)sizeof(float) + depth, "past the end");
        }
    }
}

/* Expects that the lines of rows [first, first + rows) of a head in matrices [from, to), and few others, were
 * prefetched. */
static void expect_block(problem *p, const char *what, int64_t index, int32_t first, int32_t rows, int from, int to) {
    const int64_t lines = p->floats / LINE_FLOATS;
    const int64_t begin = head_place_at(&p->args, index).in + (int64_t)first * p->args.head_dim;
    const int64_t end = begin + (int64_t)rows * p->args.head_dim;
    int64_t missing = 0, late = 0, others = 0;
    for (int matrix = 0; matrix < MATRICES; matrix++)
        for (int64_t line = 0; line < lines; line++) {
            const bool wanted =
                matrix >= from && matrix < to && line * LINE_FLOATS < end && (line + 1) * LINE_FLOATS > begin;
            const int times = p->count[matrix * lines + line];
            *(matrix + 1 == MATRICES ? &late : &missing) += wanted && !times;
            others += !wanted && times;
        }
    /* A matrix may end within a line, and the last steps of a product may prefetch beyond it. */
    cr_expect(missing == 0, "%s: %ld lines missing", what, (long)missing);
    cr_expect(late <= p->args.head_dim, "%s: %ld lines of the last matrix missing", what, (long)late);
    cr_expect(others <= p->args.head_dim + 3 * MATRICES, "%s: %ld other lines", what, (long)others);
    reset_counts(p);
}

static void walk_through(int32_t batch, int32_t heads, int32_t context, int32_t head_dim) {
    problem p = problem_new(batch, heads, context, head_dim);
    const double pairs = (double)MOST * MOST;
    problem_start(&p);
    prefetch_first(&p.ahead, MOST);
    cr_expect_eq(p.ahead.at, MATRICES / 2);
    int64_t index = 0;
    for (int32_t first = 0; index < head_places(&p.args);) {
        const bool begins = index == 0 && first == 0; /* also prefetches the rest of the first block */
        const int32_t next = first + MOST < context ? first + MOST : 0;
        const int64_t next_index = next ? index : index + 1;
        prefetch_behind(&p.ahead, index, first, MOST, 2 * pairs * head_dim);
        multiply(&p, 2.3 * pairs * head_dim, head_dim); /* tiles on the diagonal also compute masked pairs */
        if (!begins && next_index < head_places(&p.args))
            expect_block(&p, "the next block", next_index, next, context - next < MOST ? context - next : MOST, 0,
                         MATRICES);
        else reset_counts(&p);
        first = next;
        index = next_index;
    }
    cr_expect(prefetch_left(&p.ahead) <= PREFETCH_LINE * head_dim, "%ld bytes left", (long)prefetch_left(&p.ahead));
    problem_free(&p);
}

Test(prefetch, the_next_block) {
    walk_through(1, 4, 64, 64);
    walk_through(2, 3, 64, 128);
    walk_through(1, 2, 200, 64);
    walk_through(1, 3, 100, 24);
}

Test(prefetch, the_second_half_of_the_first_block) {
    problem p = problem_new(1, 1, 64, 64);
    problem_start(&p);
    prefetch_first(&p.ahead, MOST);
    prefetch_behind(&p.ahead, 0, 0, MOST, 2.0 * MOST * MOST / 2 * 64);
    multiply(&p, 2.5 * MOST * MOST / 2 * 64, 64);
    expect_block(&p, "the first block", 0, 0, MOST, MATRICES / 2, MATRICES);
    problem_free(&p);
}

/* With a long context each product prefetches little; no line is prefetched more than twice. */
Test(prefetch, is_spread_over_the_work) {
    problem p = problem_new(1, 2, 64, 64);
    problem_start(&p);
    const double work = 2.0 * MOST * 8192 * 64;
    prefetch_begin(&p.ahead, 1, 0, MOST, work);
    multiply(&p, work / 2, 64);
    int64_t prefetched = 0, most = 0;
    const int64_t lines = MATRICES * p.floats / LINE_FLOATS;
    for (int64_t i = 0; i < lines; i++) {
        prefetched += p.count[i] > 0;
        if (p.count[i] > most) most = p.count[i];
    }
    cr_expect(prefetched > lines / 5 && prefetched < lines * 3 / 10, "%ld of %ld lines at half of the work",
              (long)prefetched, (long)lines);
    cr_expect(most <= 2, "%ld times", (long)most);
    multiply(&p, work * 0.55, 64);
    expect_block(&p, "all of the work", 1, 0, MOST, 0, MATRICES);
    problem_free(&p);
}

Test(prefetch, not_in_a_model_nor_with_gaps) {
    problem p = problem_new(1, 2, 64, 64);
    p.args.standalone = false;
    problem_start(&p);
    prefetch_first(&p.ahead, MOST);
    prefetch_behind(&p.ahead, 0, 0, MOST, 1e6);
    cr_expect(!prefetch_active(&p.ahead));
    p.args.standalone = true;
    p.args.in_time = 192;
    prefetch_behind(&p.ahead, 0, 0, MOST, 1e6);
    cr_expect(!prefetch_active(&p.ahead));
    problem_free(&p);
}
