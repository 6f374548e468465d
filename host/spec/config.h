/* The scientific options of one cell: everything that decides its result. The option table (options.h) fills it in. */
#ifndef EAB_SPEC_CONFIG_H
#define EAB_SPEC_CONFIG_H

#include "kernels/backend.h"
#include "tasks/parts.h"

typedef enum { EAB_POSITION_LEARNED, EAB_POSITION_ALIBI, EAB_POSITION_ROPE, EAB_POSITION_NONE } eab_position;
typedef enum { EAB_EMBEDDING_LEARNED, EAB_EMBEDDING_ONEHOT } eab_embedding_kind;
typedef enum { EAB_HELD_OUT_AUTO, EAB_HELD_OUT_HASH, EAB_HELD_OUT_NONE } eab_held_out;

/* How a model learns which part of a mixture a sequence is of. */
typedef enum {
    EAB_CUE_TOKEN, /* from the sequence's first token */
    EAB_CUE_NONE   /* only from the sequence itself */
} eab_cue;

enum { EAB_MIXTURE_MIN_PARTS = 2, EAB_MIXTURE_TEXT_SIZE = 1500 };

/* Several levels, of one family or of several, that one model learns together: a set, sorted by family and options. */
typedef struct {
    int32_t count;
    eab_level levels[EAB_MAX_PARTS];
    char text[EAB_MIXTURE_TEXT_SIZE]; /* "recurrence(basis=4 delay=3) + recurrence(basis=8 delay=4)"; reads back */
} eab_mixture;

/* Choices (enums, on/off) are int32_t here, so that the option table can reach them by offset. */
typedef struct {
    eab_level level;            /* of a mixture: its first part; a text's tokens are owned by the plan */
    const eab_mixture *mixture; /* NULL: a plain task; owned by the plan */
    int32_t cue;                /* of a mixture: eab_cue */

    int32_t layers, d_model, heads, mlp_ratio, context;
    int32_t position; /* eab_position */
    double alibi_span;
    int32_t norm;       /* eab_norm */
    int32_t activation; /* eab_activation */
    int32_t bias;       /* 0 or 1 */
    int32_t embedding;  /* eab_embedding_kind */
    double init_scale, embedding_scale, qk_init;
    int32_t qk_norm; /* 0 or 1 */

    int32_t mechanism; /* eab_mechanism_from_name */
    double scale;      /* 0: the mechanism's default */
    double mix;        /* of mechanism mix; 0: none, for others */
    int32_t optimizer; /* eab_optimizer_kind */
    double lr, beta1, beta2, momentum, weight_decay, clip;
    int64_t steps;
    int32_t batch;
    int64_t warmup;
    int32_t schedule; /* eab_schedule */
    double lr_final;
    int64_t seed; /* 0..2^32-1 */
    int64_t eval_every, eval_tokens;
    int32_t stop_when_solved; /* 0 or 1 */
    int32_t heldout;          /* eab_held_out */
    int32_t precision;        /* eab_precision */
    double dropout;           /* 0 <= dropout < 1 */
    int64_t sequences;        /* that training repeats; 0: each step has new ones */
} eab_config;

#endif
