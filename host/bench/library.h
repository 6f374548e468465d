/* Other libraries' products of matrices, to compare with: loaded at run time if present. One thread each. */
#ifndef EAB_BENCH_LIBRARY_H
#define EAB_BENCH_LIBRARY_H

#include "operation.h"

typedef struct {
    /* Loads the library at the first call. NULL, or why it cannot be loaded (one static line). Not thread-safe. */
    const char *(*unavailable)(void);
    /* Prepares products of this shape; EAB_UNSUPPORTED if the library has none. NULL: nothing to prepare. */
    int (*prepare)(const eab_gemm *gemm, void **handle);
    /* c = op(a) op(b) (+ c) for each member; no bias, no finish. */
    void (*product)(void *handle, const eab_gemm *gemm);
    void (*release)(void *handle); /* NULL: nothing to release */
} eab_bench_library;

/* The library of an implementation; NULL if the implementation is not a library. */
const eab_bench_library *eab_bench_library_at(int32_t implementation);

/* OpenBLAS's name for the processor it computes for ("SkylakeX"; OPENBLAS_CORETYPE changes it); NULL: not loaded. */
const char *eab_openblas_core(void);

#endif
