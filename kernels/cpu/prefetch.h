/* Asking for memory before it is needed: what the next block of queries touches, a line or two at each step of the block's
 * products. Processors foresee streams, but not where the next head's few rows lie. And they drop requests that come faster
 * than about one a cycle, or that hundreds of others are under way with, while a loop that sends them one by one between two
 * products keeps the multiply-adds waiting. Amid the multiply-adds they are nearly free (kernels/cpu/README.md has figures).
 * Only for calls of their own whose tensors have no gaps (eab_attention_args.standalone): a model's operands were just
 * computed.
 */
#ifndef EAB_KERNELS_CPU_PREFETCH_H
#define EAB_KERNELS_CPU_PREFETCH_H

#include "../backend.h"
#include "simd.h"

enum { PREFETCH_MATRICES = 8, PREFETCH_LINE = 64 /* bytes */ };

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

/* Rows of one head: floats before them, and their bytes. No bytes: no rows. */
typedef struct {
    int64_t offset, bytes;
} row_block;

typedef struct {
    const eab_attention_args *args;
    int32_t matrices, at;                   /* at: the one whose rows are asked for */
    const float *matrix[PREFETCH_MATRICES]; /* about in the order of their use */
    row_block now, then;                    /* the block that is asked for, and the one after it */
    const char *next, *end;                 /* of the rows in matrix[at] */
    float rate, due;                        /* bytes a multiply-add of EAB_LANES numbers; bytes that are overdue */
} row_prefetch;

/* A line at every step of a product's sums, or two: bytes from one to the next, 0 for none. */
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

/* After the rows of a matrix. */
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

/* From now on, after what is still to be asked for, rows [first, first + most) of a head, or what there is of them, while
 * `work` multiply-adds are done; past the last head, and in a model, none. */
EAB_INLINE void prefetch_begin(row_prefetch *self, int64_t index, int32_t first, int32_t most, double work) {
    const eab_attention_args *args = self->args;
    if (!args->standalone || args->in_time != args->head_dim || args->out_time != args->head_dim) return;
    if (index < head_places(args)) {
        const int64_t rows = args->context - first < most ? args->context - first : most;
        const row_block block = {head_place_at(args, index).in + first * args->in_time,
                                 rows * args->head_dim * (int64_t)sizeof(float)};
        if (prefetch_active(self) && !self->then.bytes) {
            self->then = block;
        } else { /* what is left of earlier blocks would come too late */
            self->now = block;
            self->then = (row_block){0, 0};
            prefetch_enter(self, 0);
        }
    }
    self->rate = (float)((double)prefetch_left(self) * EAB_LANES / work);
    self->due = 0;
}

/* For sums of `depth` > 0 terms each in `vectors` vectors: a line or two for each term, or, while less than a line is due, none
 * for any, so as not to ask for one time and again. */
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

/* A call's first block of `most` queries: what it uses first is read, since as a stream that takes half as long as asking for
 * it; the rest is asked for as it is worked on. */
EAB_INLINE void prefetch_first(row_prefetch *self, int32_t most) {
    prefetch_begin(self, 0, 0, most, 1);
    while (prefetch_active(self) && self->at < self->matrices / 2) {
        for (; self->next < self->end; self->next += PREFETCH_LINE) (void)*(const volatile char *)self->next;
        prefetch_turn(self);
    }
}

/* From now on the block of `most` queries that follows the one at `first`, in this head or the next one. */
EAB_INLINE void prefetch_behind(row_prefetch *self, int64_t index, int32_t first, int32_t most, double work) {
    if (self->args->context - first > most) prefetch_begin(self, index, first + most, most, work);
    else prefetch_begin(self, index + 1, 0, most, work);
}

#endif
