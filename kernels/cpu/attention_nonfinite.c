#include "attention_nonfinite.h"

#include "../reference/attention.h"

/* The call for one head alone. */
static eab_attention_args alone(const eab_attention_args *args, const head_place *place) {
    eab_attention_args one = *args;
    one.batch = one.heads = 1;
    if (args->slopes) one.slopes = args->slopes + place->head;
    return one;
}

int eab_cpu_attention_again(const eab_attention_args *args, int32_t member, const head_place *place, const float *q,
                            const float *k, const float *v, float *out, float *row_stat) {
    const eab_attention_args one = alone(args, place);
    return eab_plain_attention_forward(&one, member, q + place->in, k + place->in, v + place->in, out + place->out,
                                       row_stat ? row_stat + place->stat : NULL);
}

int eab_cpu_attention_backward_again(const eab_attention_args *args, int32_t member, const head_place *place,
                                     const float *q, const float *k, const float *v, const float *dout, float *dq,
                                     float *dk, float *dv) {
    const eab_attention_args one = alone(args, place);
    return eab_plain_attention_backward(&one, member, q + place->in, k + place->in, v + place->in, dout + place->out,
                                        dq + place->in, dk + place->in, dv + place->in);
}
