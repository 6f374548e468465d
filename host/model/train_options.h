/* How a fleet is trained, apart from its cells' options. None of these options changes a score. */
#ifndef EAB_MODEL_TRAIN_OPTIONS_H
#define EAB_MODEL_TRAIN_OPTIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A file with the state of a fleet in training, from which training resumes to the same bits. */
typedef struct {
    const char *path; /* resumed from, if it exists; the caller removes it after the results are stored */
    double every_s;   /* seconds between writes; also written when `stop` is set */
    bool adaptive;    /* write less often where writing would take more than 0.1 % of the time */
    void (*report)(void *context, const char *line); /* a file that cannot be written or used; may be NULL */
    void *context;
    _Atomic int64_t *steps_restored;   /* adds the steps done before, summed over members; or NULL */
    _Atomic int64_t *saves, *saves_ns; /* add the number of writes and their time; or NULL */
} eab_train_checkpoint;

typedef struct {
    const atomic_bool *stop;     /* set from outside: return soon with EAB_INTERRUPTED; NULL: never */
    _Atomic int64_t *steps_done; /* adds steps as they are done, summed over members; or NULL */
    bool keep_curves;
    const char *const *model_paths;         /* [cells]: where to save each trained model (safetensors), or NULL */
    const char *const *geometry_paths;      /* [cells]: where to save attention maps; NULL: geometry is not measured */
    const eab_train_checkpoint *checkpoint; /* or NULL */
    bool abandon; /* abandon a member, with status timeout, if after half of the steps its validation accuracy is less
                     than a tenth of the way from chance to 1 */
} eab_train_options;

#endif
