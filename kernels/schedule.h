/* An optimizer's settings and its learning rate at a step; shared by the host and the devices. */
#ifndef EAB_KERNELS_SCHEDULE_H
#define EAB_KERNELS_SCHEDULE_H

#include <math.h>
#include <stdint.h>

#include "../tasks/philox.h" /* EAB_HOST_DEVICE */

typedef enum { EAB_OPTIMIZER_ADAMW, EAB_OPTIMIZER_SGD } eab_optimizer_kind;
typedef enum { EAB_SCHEDULE_CONSTANT, EAB_SCHEDULE_LINEAR, EAB_SCHEDULE_COSINE } eab_schedule;

/* AdamW: Loshchilov and Hutter, arXiv 1711.05101, decoupled decay lr * weight_decay, epsilon 1e-8.
 * SGD: velocity = momentum * velocity + gradient; decay as AdamW's. */
typedef struct {
    eab_optimizer_kind kind;
    eab_schedule schedule;
    double lr, beta1, beta2, momentum, weight_decay;
    double clip;     /* largest norm of the gradient; 0: any */
    double lr_final; /* the last step's rate, as a share of lr */
    int64_t warmup, steps;
} eab_optimizer;

/* The rate of step 0, 1, ...: linear from lr / warmup to lr over the first `warmup` steps, then along the schedule to
 * lr_final * lr at step `steps - 1`. */
EAB_HOST_DEVICE static inline double eab_learning_rate(const eab_optimizer *optimizer, int64_t step) {
    if (step < optimizer->warmup) return optimizer->lr * (double)(step + 1) / (double)optimizer->warmup;
    const int64_t span = optimizer->steps - 1 - optimizer->warmup;
    if (optimizer->schedule == EAB_SCHEDULE_CONSTANT || span <= 0) return optimizer->lr;
    const double done = step >= optimizer->steps ? 1 : (double)(step - optimizer->warmup) / (double)span;
    const double left =
        optimizer->schedule == EAB_SCHEDULE_LINEAR ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
    return optimizer->lr * (optimizer->lr_final + (1 - optimizer->lr_final) * left);
}

#endif
