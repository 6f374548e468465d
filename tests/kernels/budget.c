/* The loops of attention.c and attention_backward.c over the keys of a block, between marks: budget.sh counts the
 * vector operations that a compiler makes of them. Not part of any program. */
#include "kernels/cpu/formulas.h"

enum { ROW = 4 * EAB_LANES };
#define BEGIN(name) __asm__ volatile("# BEGIN " name)
#define END __asm__ volatile("# END")

void maximum(const float *scores, int keys, float *to) {
    eab_vec top = eab_load(to);
    for (int j = 0; j < keys; j++, scores += ROW) {
        BEGIN("dpa, maximum");
        top = eab_max_vec(top, eab_load(scores));
        END;
    }
    eab_store(to, top);
}

void exponentials(float *scores, int keys, float *sum, const float *max) {
    const eab_vec top = eab_load(max);
    eab_vec total = {0};
    for (int j = 0; j < keys; j++, scores += ROW) {
        BEGIN("dpa, exponential and sum");
        const eab_vec w = eab_exp_negative_vec(eab_load(scores) - top);
        total += w;
        eab_store(scores, w);
        END;
    }
    eab_store(sum, total);
}

void ea_weights(float *scores, int keys, float *sum) {
    eab_vec total = {0};
    for (int j = 0; j < keys; j++, scores += ROW) {
        BEGIN("ea, weight and sum");
        const eab_vec w = eab_ea_weight(eab_load(scores));
        total += w;
        eab_store(scores, w);
        END;
    }
    eab_store(sum, total);
}

void dpa_gradients(float *scores, float *dscores, int keys, const float *stat, const float *mean_dp) {
    const eab_vec log_sum = eab_load(stat), mean = eab_load(mean_dp);
    for (int j = 0; j < keys; j++, scores += ROW, dscores += ROW) {
        BEGIN("dpa, backward");
        const eab_vec a = eab_exp_negative_vec(eab_load(scores) - log_sum);
        eab_store(scores, a);
        eab_store(dscores, a * (eab_load(dscores) - mean));
        END;
    }
}

void ea_gradients(float *scores, float *dscores, int keys, const float *stat, const float *mean_dp) {
    const eab_vec inverse = eab_load(stat), mean = eab_load(mean_dp);
    for (int j = 0; j < keys; j++, scores += ROW, dscores += ROW) {
        BEGIN("ea, backward");
        const eab_vec z = eab_load(scores);
        eab_store(scores, eab_ea_weight(z) * inverse);
        eab_store(dscores, eab_ea_derivative(z) * inverse * (eab_load(dscores) - mean));
        END;
    }
}
