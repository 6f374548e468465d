#include "bench_library.h"

#include <dlfcn.h>
#include <string.h>

/* ISO C has no cast from data to code. */
static bool find(void *library, const char *name, void *function, size_t size) {
    void *const found = dlsym(library, name);
    memcpy(function, &found, size);
    return found;
}

static const float *member_of(eab_tensor tensor, int32_t member) {
    return (const float *)tensor.data + member * tensor.stride;
}

/* ---- OpenBLAS ------------------------------------------------------------------------------------------------ */

/* The CBLAS interface, from its specification (BLAS Technical Forum, 2001, appendix B). */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
static struct {
    bool tried, loaded;
    void (*set_threads)(int count);
    const char *(*config)(void);
    void (*sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a,
                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
} openblas;

static const char *openblas_unavailable(void) {
    if (!openblas.tried) {
        openblas.tried = true;
        void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
        openblas.loaded =
            library && find(library, "openblas_set_num_threads", &openblas.set_threads, sizeof openblas.set_threads) &&
            find(library, "openblas_get_config", &openblas.config, sizeof openblas.config) &&
            find(library, "cblas_sgemm", &openblas.sgemm, sizeof openblas.sgemm);
        if (openblas.loaded) openblas.set_threads(1);
    }
    return openblas.loaded ? NULL : "libopenblas.so.0 is not here (Debian, Ubuntu: libopenblas0-pthread)";
}

static void openblas_product(void *handle, const eab_gemm *g) {
    (void)handle;
    for (int32_t member = 0; member < g->members; member++)
        openblas.sgemm(ROW_MAJOR, g->transpose_a ? TRANSPOSE : NO_TRANSPOSE, g->transpose_b ? TRANSPOSE : NO_TRANSPOSE,
                       g->m, g->n, g->k, 1, member_of(g->a, member), g->lda, member_of(g->b, member), g->ldb,
                       g->accumulate ? 1 : 0, (float *)g->c.data + member * g->c.stride, g->ldc);
}

static const char *openblas_describe(void) { return openblas.config(); }

/* ---- all ----------------------------------------------------------------------------------------------------- */

static const eab_bench_library libraries[] = {
    {"openblas", openblas_unavailable, NULL, openblas_product, openblas_describe},
};

const eab_bench_library *eab_bench_library_from_name(const char *name) {
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (strcmp(libraries[i].name, name) == 0) return &libraries[i];
    return NULL;
}
