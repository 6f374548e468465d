/* Products of matrices as a linear map has them: y = x W + b, dx = dy W^T, dW += x^T dy. */
#include <math.h>

#include "buffers.h"

/* In the order of `form`. */
static const struct {
    bool transpose_a, transpose_b, accumulate, bias;
} forms[] = {{.bias = true}, {.transpose_b = true}, {.transpose_a = true, .accumulate = true}};
enum { MAP, INPUT_GRADIENT, WEIGHT_GRADIENT };

/* Beside the rounding of float32 sums: TF32 truncates its inputs. Sums in bf16's products may be truncated, too,
 * which is still far less than a wrongly rounded input. */
static double gemm_roundoff(eab_precision precision) {
    return precision == EAB_PRECISION_TF32 ? 0x1p-10 : precision == EAB_PRECISION_BF16 ? 0x1p-20 : 0;
}

static void check_gemm(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t form = run->operation->form, extra = 3;
    const int32_t m = (int32_t)eab_check_rows(shape), n = shape->vocab, k = shape->d_model;
    eab_gemm gemm = {.members = shape->members,
                     .m = m,
                     .n = n,
                     .k = k,
                     .transpose_a = forms[form].transpose_a,
                     .transpose_b = forms[form].transpose_b,
                     .accumulate = forms[form].accumulate,
                     .precision = run->operation->precision};
    run->roundoff = gemm_roundoff(gemm.precision);
    gemm.lda = (gemm.transpose_a ? m : k) + extra;
    gemm.ldb = (gemm.transpose_b ? k : n) + extra;
    gemm.ldc = n;
    gemm.a = eab_check_tensor(run, (int64_t)gemm.lda * (gemm.transpose_a ? k : m), 1);
    gemm.b = eab_check_tensor(run, (int64_t)gemm.ldb * (gemm.transpose_b ? n : k), 1);
    gemm.c = eab_check_tensor(run, (int64_t)m * n, gemm.accumulate ? 1 : NAN);
    if (forms[form].bias) gemm.bias = eab_check_tensor(run, n, 1);
    EAB_CHECK_CALL(gemm, &gemm);
    eab_check_output(run, gemm.c);
}

#define GEMM(name_, form_, precision_)                                               \
    {                                                                                \
        .name = name_, .run = check_gemm, .form = form_, .gradient = (form_) != MAP, \
        .precision = EAB_PRECISION_##precision_                                      \
    }
const eab_check_operation eab_check_products[] = {
    GEMM("gemm", MAP, FLOAT32),
    GEMM("gemm_input_gradient", INPUT_GRADIENT, FLOAT32),
    GEMM("gemm_weight_gradient", WEIGHT_GRADIENT, FLOAT32),
    GEMM("gemm_tf32", MAP, TF32),
    GEMM("gemm_input_grad_tf32", INPUT_GRADIENT, TF32),
    GEMM("gemm_weight_grad_tf32", WEIGHT_GRADIENT, TF32),
    GEMM("gemm_bf16", MAP, BF16),
    GEMM("gemm_input_grad_bf16", INPUT_GRADIENT, BF16),
    GEMM("gemm_weight_grad_bf16", WEIGHT_GRADIENT, BF16),
    {.name = NULL},
};
