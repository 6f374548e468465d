/* A plan: the cells of a sweep, from a spec file and --set. */
#ifndef EAB_PLAN_CELLS_H
#define EAB_PLAN_CELLS_H

#include <glib.h>

#include "spec/file.h"
#include "spec/options.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { EAB_PLAN_MAX_CELLS = 1000 }; /* so that an input costs microseconds */
#else
enum { EAB_PLAN_MAX_CELLS = 1000000 };
#endif

typedef struct {
    eab_config config;
    char id[17];
} eab_cell;

typedef struct {
    eab_cell *cells; /* in the order of the spec: the last axis of the last section runs fastest */
    int64_t count;
    int64_t duplicates;  /* cells that are listed again, which are left out */
    char *resolved;      /* the spec as INI text, --set applied and every option written out: a spec file */
    GHashTable *places;  /* a cell's id -> its index, for eab_plan_find */
    char *name;          /* the spec's file name without directory and ".ini" */
    GPtrArray *mixtures; /* of eab_mixture: those of the cells' configs */
    GPtrArray *texts;    /* of eab_text: likewise */
    bool lacks_texts;    /* eab_plan_load_manifest: the FLOP of cells are unknown, so it cannot be split */
    uint64_t later;      /* the later options (spec/options.h) that are not at their default in every cell */
} eab_plan;

/* Reads a spec file and applies `sets` (NULL-terminated "section.key=value" strings, or NULL).
 * EAB_BAD_INPUT with one line (what, where, what is allowed, the nearest valid name) for every mistake. */
int eab_plan_load(const char *path, const char *const *sets, eab_plan *plan);

/* The plan of a run, from its manifest, to name its cells and not to train them: text files that have changed or are
 * absent stand for themselves, with their digests (lacks_texts). */
int eab_plan_load_manifest(const char *path, eab_plan *plan);

/* eab_plan_load from a spec, which may be freed; `path` is for the plan's name and the error lines. */
int eab_plan_make(const char *path, const eab_spec *spec, eab_plan *plan);

/* The same from one task section and `sets`. */
int eab_plan_of_task(const char *family, const char *const *sets, eab_plan *plan);
void eab_plan_free(eab_plan *plan);

/* The index of the cell with this id, or -1. */
int64_t eab_plan_find(const eab_plan *plan, const char *id);

/* The model's and the training's options that vary within the plan, except lr and seed: of const eab_option.
 * g_ptr_array_unref */
GPtrArray *eab_plan_varying(const eab_plan *plan);

/* Work of a cell that is not stopped early, in FLOP: for "longest first" and estimates. */
double eab_cell_flop(const eab_config *config);

#endif
