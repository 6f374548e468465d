/* Other people's products of matrices, to compare with: loaded at run time, never needed. One thread each. */
#ifndef EAB_BENCH_LIBRARY_H
#define EAB_BENCH_LIBRARY_H

#include "kernels/backend.h"

typedef struct {
    const char *name; /* the word of the implementation axis */
    /* Loads it at the first call; NULL, or why not (one static line). Not for several threads at once. */
    const char *(*unavailable)(void);
    /* Prepares for products of this shape (a kernel made to order); NULL where there is nothing to prepare.
     * EAB_UNSUPPORTED where the library has none. */
    int (*prepare)(const eab_gemm *gemm, void **handle);
    /* c = op(a) op(b) (+ c) of each member; no bias, no finish. */
    void (*product)(void *handle, const eab_gemm *gemm);
    void (*release)(void *handle); /* NULL: there is nothing to release */
} eab_bench_library;

/* For which processor OpenBLAS computes, as it names it ("SkylakeX"; OPENBLAS_CORETYPE has a say); NULL: it is not loaded. */
const char *eab_openblas_core(void);

/* The library called so, or NULL. */
const eab_bench_library *eab_bench_library_from_name(const char *name);

#endif
