/* The backend table's attention: copies mechanisms, scales, mixes and slopes to the device and calls the kernels of
 * attention.h. */
#include "attention.h"
#include "attention_nonfinite.h"
#include "context.h"
#include "operations.h"

#include "../mechanism.h"

namespace {

int keep_scores(eab_device *device, const eab_attention_args *args, eab_cuda_scores *scores) {
    const size_t n = (size_t)args->members;
    const void *mechanism = nullptr, *scale = nullptr, *mix = nullptr, *slopes = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_MECHANISMS, args->scores.mechanism, n * sizeof(int32_t), &mechanism));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SCALES, args->scores.scale, n * sizeof(float), &scale));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_MIXES, args->scores.mix, n * sizeof(float), &mix));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SLOPES, args->slopes, (size_t)args->heads * sizeof(float), &slopes));
    *scores = {(const int32_t *)mechanism, (const float *)scale, (const float *)mix, (const float *)slopes};
    return EAB_OK;
}

int keep_slopes(eab_device *device, const eab_attention *attention, eab_cuda_scores *scores) {
    const void *on_device = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SLOPES, attention->slopes, (size_t)attention->heads * sizeof(float),
                          &on_device));
    *scores = {nullptr, nullptr, nullptr, (const float *)on_device};
    return EAB_OK;
}

/* A tensor of one member. */
eab_const_tensor input(const void *data) { return {data, 0}; }
eab_tensor output(void *data) { return {data, 0}; }

float scale_of(const eab_attention *attention) {
    return attention->scale > 0 ? attention->scale
                                : eab_mechanism_default_scale(attention->mechanism, attention->head_dim);
}

} // namespace

int eab_cuda_model_attention_forward(eab_device *device, const eab_attention_args *args, eab_const_tensor q,
                                     eab_const_tensor k, eab_const_tensor v, eab_tensor out, eab_tensor row_stat) {
    eab_cuda_scores scores;
    EAB_TRY(keep_scores(device, args, &scores));
    EAB_TRY(eab_cuda_attention_forward(eab_cuda_stream(device), args, &scores, q, k, v, out, row_stat));
    return eab_cuda_attention_mend(eab_cuda_stream(device), EAB_F32, args, &scores, q, k, v, out);
}

int eab_cuda_model_attention_backward(eab_device *device, const eab_attention_args *args, eab_const_tensor q,
                                      eab_const_tensor k, eab_const_tensor v, eab_const_tensor out,
                                      eab_const_tensor row_stat, eab_const_tensor dout, eab_tensor dq, eab_tensor dk,
                                      eab_tensor dv) {
    eab_cuda_scores scores;
    EAB_TRY(keep_scores(device, args, &scores));
    EAB_TRY(
        eab_cuda_attention_backward(eab_cuda_stream(device), args, &scores, q, k, v, out, row_stat, dout, dq, dk, dv));
    return eab_cuda_attention_mend_backward(eab_cuda_stream(device), EAB_F32, args, &scores, q, k, v, out, row_stat,
                                            dout, dq, dk, dv);
}

int eab_cuda_half_forward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                          const void *v, void *out, float *row_stat) {
    const float scale = scale_of(attention);
    const eab_attention_args args = eab_attention_args_of(attention, &scale);
    cudaStream_t stream = eab_cuda_stream(device);
    eab_cuda_scores scores;
    EAB_TRY(keep_slopes(device, attention, &scores));
    EAB_TRY(eab_cuda_flash_forward(stream, attention, scores.slopes, q, k, v, out, row_stat));
    return eab_cuda_attention_mend(stream, attention->dtype, &args, &scores, input(q), input(k), input(v), output(out));
}

int eab_cuda_half_backward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                           const void *v, const void *out, const float *row_stat, const void *dout, void *dq, void *dk,
                           void *dv) {
    const float scale = scale_of(attention);
    const eab_attention_args args = eab_attention_args_of(attention, &scale);
    cudaStream_t stream = eab_cuda_stream(device);
    eab_cuda_scores scores;
    void *scratch = nullptr;
    EAB_TRY(keep_slopes(device, attention, &scores));
    EAB_TRY(eab_cuda_scratch(device, (size_t)eab_cuda_flash_scratch_floats(attention) * sizeof(float), &scratch));
    EAB_TRY(eab_cuda_flash_backward(stream, attention, scores.slopes, q, k, v, out, row_stat, dout, dq, dk, dv,
                                    (float *)scratch));
    return eab_cuda_attention_mend_backward(stream, attention->dtype, &args, &scores, input(q), input(k), input(v),
                                            input(out), input(row_stat), input(dout), output(dq), output(dk),
                                            output(dv));
}

const char *eab_cuda_supports(const eab_device *, const eab_attention *attention) {
    return attention->dtype == EAB_F32 ? nullptr : eab_cuda_flash_supports(attention);
}
