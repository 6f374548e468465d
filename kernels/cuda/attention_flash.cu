/* Entry points of 16-bit attention: checks and dispatch. A kernel family for one architecture (wgmma and TMA on Hopper)
 * would be chosen here, by the device's compute capability, before the portable one. */
#include "attention_flash_dispatch.h"

enum { MAX_HEAD_DIM = 128 };

const char *eab_cuda_flash_supports(const eab_attention *attention) {
    if (attention->dtype != EAB_BF16 && attention->dtype != EAB_F16) return "flash attention takes bf16 and fp16";
    switch (eab_formula_of(attention->mechanism)) {
#define EAB_CASE(formula) case EAB_FORMULA_##formula:
        EAB_OWN_CODE_LIST(EAB_CASE)
#undef EAB_CASE
        break;
        default: return "flash attention takes dpa, ea, ea-scaled and ea-softmax; other mechanisms: float32";
    }
    if (attention->head_dim < 1 || attention->head_dim > MAX_HEAD_DIM)
        return "flash attention takes a head_dim of 1 to 128";
    if ((int64_t)attention->batch * attention->heads > INT32_MAX)
        return "flash attention takes at most 2^31 - 1 heads in all";
    return NULL;
}

/* cp.async moves aligned 16-byte words. */
static bool is_wide(const eab_attention *attention, const void *const *tensors, int count) {
    bool wide = attention->head_dim % 8 == 0;
    for (int i = 0; i < count; i++) wide = wide && (uintptr_t)tensors[i] % 16 == 0;
    return wide;
}

int eab_cuda_flash_forward(cudaStream_t stream, const eab_attention *attention, const float *device_slopes,
                           const void *q, const void *k, const void *v, void *out, float *row_stat) {
    const char *reason = eab_cuda_flash_supports(attention);
    if (reason) return eab_fail(EAB_UNSUPPORTED, "%s", reason);
    const void *const tensors[] = {q, k, v, out};
    eab_flash_args args = eab_flash_args_of(attention, device_slopes, 1);
    args.wide = is_wide(attention, tensors, 4);
    args.q = (const uint16_t *)q;
    args.k = (const uint16_t *)k;
    args.v = (const uint16_t *)v;
    args.result = (uint16_t *)out;
    args.row_stat_result = row_stat;
    const eab_formula formula = eab_formula_of(attention->mechanism);
    return attention->dtype == EAB_BF16 ? eab_flash_forward_bf16(stream, formula, args)
                                        : eab_flash_forward_f16(stream, formula, args);
}

int64_t eab_cuda_flash_scratch_floats(const eab_attention *attention) {
    return (int64_t)attention->batch * attention->heads * attention->context; /* D of every query */
}

int eab_cuda_flash_backward(cudaStream_t stream, const eab_attention *attention, const float *device_slopes,
                            const void *q, const void *k, const void *v, const void *out, const float *row_stat,
                            const void *dout, void *dq, void *dk, void *dv, float *scratch) {
    const char *reason = eab_cuda_flash_supports(attention);
    if (reason) return eab_fail(EAB_UNSUPPORTED, "%s", reason);
    const void *const tensors[] = {q, k, v, out, dout, dq, dk, dv};
    eab_flash_args args = eab_flash_args_of(attention, device_slopes, 1);
    args.wide = is_wide(attention, tensors, 8);
    args.q = (const uint16_t *)q;
    args.k = (const uint16_t *)k;
    args.v = (const uint16_t *)v;
    args.out = (const uint16_t *)out;
    args.dout = (const uint16_t *)dout;
    args.row_stat = row_stat;
    args.mean_dp = scratch;
    args.dq = (uint16_t *)dq;
    args.dk = (uint16_t *)dk;
    args.dv = (uint16_t *)dv;
    const eab_formula formula = eab_formula_of(attention->mechanism);
    return attention->dtype == EAB_BF16 ? eab_flash_backward_bf16(stream, formula, args, scratch)
                                        : eab_flash_backward_f16(stream, formula, args, scratch);
}
