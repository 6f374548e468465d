/* Asking for memory before it is needed: the rows that the next block of queries touches, row by row while a block is worked
 * on, and those of a call's first block before it begins. Processors foresee streams, but not where the next head's few rows
 * lie: of operands in memory, heads of 64 queries took 1.03 to 1.5 times as long without this. Of operands in a cache it
 * takes up to 7 % of the time, so the trainer, which has just computed them, goes without (eab_attention_args.standalone). */
#ifndef EAB_KERNELS_CPU_PREFETCH_H
#define EAB_KERNELS_CPU_PREFETCH_H

#include "../backend.h"
#include "simd.h"

enum { PREFETCH_MATRICES = 8, PREFETCH_LINE_FLOATS = 16 };

/* Where one head of one sequence lies; all of a head's sequences come first, as they share its table of position biases. */
typedef struct {
    int64_t in, out, stat; /* floats before its q (and k, v, their gradients), its out (and dout), its row_stat */
} head_place;

EAB_INLINE int64_t head_places(const eab_attention_args *args) { return (int64_t)args->heads * args->batch; }

EAB_INLINE head_place head_place_at(const eab_attention_args *args, int64_t index) {
    const int64_t head = index / args->batch, batch = index % args->batch;
    return (head_place){batch * args->in_batch + head * args->in_head, batch * args->out_batch + head * args->out_head,
                        (batch * args->heads + head) * args->context};
}

typedef struct {
    const eab_attention_args *args;
    int32_t matrices, rows; /* rows: still to be asked for */
    struct {
        const float *base, *at;
        bool like_out; /* laid out as out is, else as q */
    } matrix[PREFETCH_MATRICES];
} row_prefetch;

EAB_INLINE void prefetch_matrix(row_prefetch *self, const float *base, bool like_out) {
    self->matrix[self->matrices].base = base;
    self->matrix[self->matrices++].like_out = like_out;
}

/* From now on rows [first, first + most) of a head, or what there is of them; past the last head, and in a model, none. */
EAB_INLINE void prefetch_begin(row_prefetch *self, int64_t index, int32_t first, int32_t most) {
    const eab_attention_args *args = self->args;
    self->rows = 0;
    if (!args->standalone || index >= head_places(args)) return;
    const head_place place = head_place_at(args, index);
    self->rows = args->context - first < most ? args->context - first : most;
    for (int32_t i = 0; i < self->matrices; i++)
        self->matrix[i].at = self->matrix[i].base + (self->matrix[i].like_out ? place.out + first * args->out_time
                                                                              : place.in + first * args->in_time);
}

/* Asks for one more row of each matrix. */
EAB_INLINE void prefetch_row(row_prefetch *self) {
    if (self->rows <= 0) return;
    self->rows--;
    for (int32_t i = 0; i < self->matrices; i++) {
        for (int32_t j = 0; j < self->args->head_dim; j += PREFETCH_LINE_FLOATS)
            __builtin_prefetch(self->matrix[i].at + j);
        self->matrix[i].at += self->matrix[i].like_out ? self->args->out_time : self->args->in_time;
    }
}

/* All of a call's first block of `most` queries, at once. */
EAB_INLINE void prefetch_first(row_prefetch *self, int32_t most) {
    prefetch_begin(self, 0, 0, most);
    while (self->rows) prefetch_row(self);
}

/* From now on the block of `most` queries that follows the one at `first`, in this head or the next one. */
EAB_INLINE void prefetch_behind(row_prefetch *self, int64_t index, int32_t first, int32_t most) {
    if (self->args->context - first > most) prefetch_begin(self, index, first + most, most);
    else prefetch_begin(self, index + 1, 0, most);
}

#endif
