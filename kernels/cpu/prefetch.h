/* Prefetches the operands of the next block of queries, one or two cache lines at each step of the current block's
 * products.
 *
 * Processors prefetch streams by themselves, but not the next head's few rows. They drop prefetches that come faster
 * than about one a cycle, or while hundreds are under way; and a loop of prefetches between two products delays the
 * multiply-adds. Between the multiply-adds prefetches are nearly free (figures in kernels/cpu/README.md). Only for
 * standalone calls (eab_attention_args.standalone) whose tensors have no gaps: a model's operands were just computed.
 */
#ifndef EAB_KERNELS_CPU_PREFETCH_H
#define EAB_KERNELS_CPU_PREFETCH_H

#include "../backend.h"
#include "simd.h"

enum { PREFETCH_MATRICES = 8, PREFETCH_LINE = 64 /* bytes */ };

/* The place of one head of one sequence. Heads are the slow index: all sequences of a head share its table of
 * biases. */
typedef struct {
    int64_t in, out, stat; /* offsets in floats: of q, k, v and their gradients; of out and dout; of row_stat */
    int32_t head;
} head_place;

EAB_INLINE int64_t head_places(const eab_attention_args *args) { return (int64_t)args->heads * args->batch; }

EAB_INLINE head_place head_place_at(const eab_attention_args *args, int64_t index) {
    const int64_t head = index / args->batch, batch = index % args->batch;
    return (head_place){batch * args->in_batch + head * args->in_head, batch * args->out_batch + head * args->out_head,
                        (batch * args->heads + head) * args->context, (int32_t)head};
}

/* Rows of one head: their offset in floats, and their bytes; 0 bytes: none. */
typedef struct {
    int64_t offset, bytes;
} row_block;

typedef struct {
    const eab_attention_args *args;
    int32_t matrices, at;                   /* at: the matrix that is being prefetched */
    const float *matrix[PREFETCH_MATRICES]; /* roughly in the order of use */
    row_block now, then;                    /* the block that is being prefetched, and the one after it */
    const char *next, *end;                 /* the rest of its rows in matrix[at] */
    float rate, due;                        /* bytes per multiply-add of EAB_LANES numbers; bytes that are due */
} row_prefetch;

/* One or two lines at every step of a product's sums; step: bytes from one to the next, 0: none. */
typedef struct {
    const char *line;
    int64_t step;
} prefetch_walk;

EAB_INLINE void prefetch_matrix(row_prefetch *self, const float *base) { self->matrix[self->matrices++] = base; }

EAB_INLINE void prefetch_enter(row_prefetch *self, int32_t at) {
    self->at = at;
    self->next = (const char *)(self->matrix[at] + self->now.offset);
    self->end = self->next + self->now.bytes;
}

/* To the next matrix, or block. */
EAB_INLINE void prefetch_turn(row_prefetch *self) {
    if (self->at + 1 < self->matrices) {
        prefetch_enter(self, self->at + 1);
        return;
    }
    self->now = self->then;
    self->then = (row_block){0, 0};
    prefetch_enter(self, 0);
}

EAB_INLINE bool prefetch_active(const row_prefetch *self) { return self->now.bytes > 0; }

EAB_INLINE int64_t prefetch_left(const row_prefetch *self) {
    return (self->end - self->next) + (self->matrices - 1 - self->at) * self->now.bytes +
           self->matrices * self->then.bytes;
}

/* After what is still queued, prefetches up to `most` rows of a head from `first` on, spread over `work`
 * multiply-adds; none past the last head, and none in a model. */
EAB_INLINE void prefetch_begin(row_prefetch *self, int64_t index, int32_t first, int32_t most, double work) {
    const eab_attention_args *args = self->args;
    if (!args->standalone || args->in_time != args->head_dim || args->out_time != args->head_dim) return;
    if (index < head_places(args)) {
        const int64_t rows = args->context - first < most ? args->context - first : most;
        const row_block block = {head_place_at(args, index).in + first * args->in_time,
                                 rows * args->head_dim * (int64_t)sizeof(float)};
        if (prefetch_active(self) && !self->then.bytes) {
            self->then = block;
        } else { /* drop what is left of earlier blocks: too late */
            self->now = block;
            self->then = (row_block){0, 0};
            prefetch_enter(self, 0);
        }
    }
    self->rate = (float)((double)prefetch_left(self) * EAB_LANES / work);
    self->due = 0;
}

/* The lines for sums of `depth` > 0 terms in `vectors` vectors: one or two per term, or none for all of them while
 * less than a line per term is due, so that no line is prefetched repeatedly. */
static inline prefetch_walk prefetch_pace(row_prefetch *self, int32_t vectors, int32_t depth) {
    if (!prefetch_active(self)) return (prefetch_walk){0};
    self->due += self->rate * (float)(vectors * depth);
    const float lines = self->due / (float)(PREFETCH_LINE * depth);
    if (lines < 1) return (prefetch_walk){0};
    const int64_t left = self->end - self->next;
    int64_t step = lines < 2 ? PREFETCH_LINE : 2 * PREFETCH_LINE;
    if (step * depth > left) step = (left + depth - 1) / depth;
    self->due -= (float)(step * depth);
    const prefetch_walk walk = {self->next, step};
    self->next += step * depth;
    if (self->next >= self->end) prefetch_turn(self);
    return walk;
}

/* A call's first block of `most` queries: the first half of the matrices is read, as a stream, in half the time that
 * prefetching takes; the rest is prefetched during the block. */
EAB_INLINE void prefetch_first(row_prefetch *self, int32_t most) {
    prefetch_begin(self, 0, 0, most, 1);
    while (prefetch_active(self) && self->at < self->matrices / 2) {
        for (; self->next < self->end; self->next += PREFETCH_LINE) (void)*(const volatile char *)self->next;
        prefetch_turn(self);
    }
}

/* Prefetches the block of `most` queries after the one at `first`, in this head or the next one. */
EAB_INLINE void prefetch_behind(row_prefetch *self, int64_t index, int32_t first, int32_t most, double work) {
    if (self->args->context - first > most) prefetch_begin(self, index, first + most, most, work);
    else prefetch_begin(self, index + 1, 0, most, work);
}

#endif
