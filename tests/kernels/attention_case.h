/* One attention problem computed three ways: float64 reference, plain unfused float32, a fused kernel. */
#ifndef EAB_TESTS_KERNELS_ATTENTION_CASE_H
#define EAB_TESTS_KERNELS_ATTENTION_CASE_H

#include "guarded.h"
#include "kernels/cpu/kernels.h"

typedef struct {
    int32_t batch, heads, context, head_dim, mechanism;
    bool causal, sloped;
    bool standalone;  /* eab_attention_args.standalone */
    bool interleaved; /* q, k and v in rows of 3 * heads * head_dim, as in a model; else [batch][heads][context] */
    float mix;        /* of mechanism mix */
    double size;      /* standard deviation of q, k, v and dout */
} attention_case;

enum { RESULT_OUT, RESULT_DQ, RESULT_DK, RESULT_DV, RESULT_COUNT };

typedef struct {
    attention_case spec;
    eab_attention_args args;
    float slopes[16], scale;
    int64_t qkv_count, out_count, rows; /* floats in the q, k, v buffer, in out, and rows of row_stat */
    int64_t part[3];                    /* offsets of q, k, v */
    guarded qkv, dout;
    double *exact[RESULT_COUNT], *terms[RESULT_COUNT]; /* float64 results and the sizes of their terms; contiguous */
    double plain_error[RESULT_COUNT];                  /* norm of plain - exact */
    double term_norm[RESULT_COUNT];
    double *row_stat; /* exact */
} attention_problem;

/* The fused kernel's results, in guarded buffers filled with NaN before. */
typedef struct {
    guarded out, dqkv, row_stat;
} attention_results;

/* Draws the inputs; with_references also computes exact, terms and plain_error. */
attention_problem attention_problem_new(attention_case spec, uint32_t seed, bool with_references);
void attention_problem_free(attention_problem *problem);

/* The case in one line. */
const char *attention_case_name(const attention_case *spec);

/* Runs the forward and backward kernels of a SIMD level; fails the test on a bad status or a changed guard. */
attention_results attention_run(const attention_problem *problem, const eab_cpu_kernels *kernels);
void attention_results_free(attention_results *results);

/* error_ratio (docs/design.md 1); infinite if any value is not finite. */
double attention_error_ratio(const attention_problem *problem, const attention_results *results, int which);

/* The address of element (batch, head, time, i) of result `which`. */
float *attention_at(const attention_problem *problem, const attention_results *results, int which, int32_t batch,
                    int32_t head, int32_t time, int32_t i);

#endif
