#include "library.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "base/module.h"
#include "kernels/cpu/isa.h"

static const float *member_of(eab_tensor tensor, int32_t member) {
    return (const float *)tensor.data + member * tensor.stride;
}

/* ---- OpenBLAS --------------------------------------------------------------------------------------------------- */

/* The CBLAS interface, from its specification (BLAS Technical Forum, 2001, appendix B). */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
static struct {
    bool tried, loaded;
    void (*set_threads)(int count);
    const char *(*core)(void);
    void (*sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a,
                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
} openblas;

/* A processor that OpenBLAS does not know gets its kernels for the oldest one (SSE3). So it is told one whose vectors
 * have the width in use, unless the user has told it another; the dynamic libraries of Debian and Ubuntu have both. */
static void name_openblas_core(void) {
    static const char *const cores[EAB_ISA_COUNT] = {[EAB_ISA_AVX2] = "Haswell", [EAB_ISA_AVX512] = "SkylakeX"};
    eab_isa isa;
    if (eab_isa_choose(getenv("EAB_ISA"), &isa) == EAB_OK && cores[isa]) setenv("OPENBLAS_CORETYPE", cores[isa], 0);
}

static const char *openblas_unavailable(void) {
    if (!openblas.tried) {
        openblas.tried = true;
        name_openblas_core();
        void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
        openblas.loaded =
            library &&
            eab_module_find(library, "openblas_set_num_threads", &openblas.set_threads, sizeof openblas.set_threads) &&
            eab_module_find(library, "openblas_get_corename", &openblas.core, sizeof openblas.core) &&
            eab_module_find(library, "cblas_sgemm", &openblas.sgemm, sizeof openblas.sgemm);
        if (openblas.loaded) openblas.set_threads(1);
    }
    return openblas.loaded ? NULL : "libopenblas.so.0 is not installed (Debian, Ubuntu: libopenblas0-pthread)";
}

static void openblas_product(void *handle, const eab_gemm *g) {
    (void)handle;
    for (int32_t member = 0; member < g->members; member++)
        openblas.sgemm(ROW_MAJOR, g->transpose_a ? TRANSPOSE : NO_TRANSPOSE, g->transpose_b ? TRANSPOSE : NO_TRANSPOSE,
                       g->m, g->n, g->k, 1, member_of(g->a, member), g->lda, member_of(g->b, member), g->ldb,
                       g->accumulate ? 1 : 0, (float *)g->c.data + member * g->c.stride, g->ldc);
}

const char *eab_openblas_core(void) { return openblas.loaded ? openblas.core() : NULL; }

/* ---- libxsmm ---------------------------------------------------------------------------------------------------- */

/* From libxsmm's documentation (1.17): a kernel is generated at run time for one shape. Matrices are column-major,
 * so it computes c^T = op(b)^T op(a)^T. It has no kernels with a transposed first operand: then b is transposed
 * before each product, as its documentation advises. */
enum { XSMM_TRANSPOSE_SECOND = 2 };
typedef void (*xsmm_kernel)(const float *a, const float *b, float *c, ...);
static struct {
    bool tried, loaded;
    void (*init)(void);
    xsmm_kernel (*dispatch)(int m, int n, int k, const int *lda, const int *ldb, const int *ldc, const float *alpha,
                            const float *beta, const int *flags, const int *prefetch);
    void (*transpose)(void *to, const void *from, unsigned element_bytes, int rows, int columns, int from_row,
                      int to_row);
} xsmm;

typedef struct {
    xsmm_kernel kernel;
    float *transposed; /* b^T, or NULL */
} xsmm_handle;

/* The shared library, or the one beside the program that the build makes from libxsmm.a. */
static void *load_xsmm(void) {
    void *library = dlopen("libxsmm.so", RTLD_NOW | RTLD_LOCAL);
    return library ? library : eab_module_open("eabench_libxsmm", false);
}

static const char *xsmm_unavailable(void) {
    if (!xsmm.tried) {
        xsmm.tried = true;
        void *library = load_xsmm();
        xsmm.loaded = library && eab_module_find(library, "libxsmm_init", &xsmm.init, sizeof xsmm.init) &&
                      eab_module_find(library, "libxsmm_smmdispatch", &xsmm.dispatch, sizeof xsmm.dispatch) &&
                      eab_module_find(library, "libxsmm_otrans", &xsmm.transpose, sizeof xsmm.transpose);
        if (xsmm.loaded) xsmm.init();
    }
    return xsmm.loaded ? NULL : "libxsmm is not installed (Debian, Ubuntu: libxsmm-dev, then build again)";
}

static int xsmm_prepare(const eab_gemm *g, void **prepared) {
    const float one = 1, beta = g->accumulate ? 1 : 0;
    const int flags = g->transpose_a ? XSMM_TRANSPOSE_SECOND : 0, ldb = g->n;
    const xsmm_kernel kernel =
        xsmm.dispatch(g->n, g->m, g->k, g->transpose_b ? &ldb : &g->ldb, &g->lda, &g->ldc, &one, &beta, &flags, NULL);
    if (!kernel) return eab_fail(EAB_UNSUPPORTED, "libxsmm makes no kernel for this shape");
    xsmm_handle *handle = g_new0(xsmm_handle, 1);
    handle->kernel = kernel;
    if (g->transpose_b) handle->transposed = g_new(float, (gsize)g->n *(gsize)g->k);
    *prepared = handle;
    return EAB_OK;
}

static void xsmm_release(void *prepared) {
    xsmm_handle *handle = prepared;
    g_free(handle->transposed);
    g_free(handle);
}

static void xsmm_product(void *prepared, const eab_gemm *g) {
    const xsmm_handle *handle = prepared;
    for (int32_t member = 0; member < g->members; member++) {
        const float *b = member_of(g->b, member);
        if (handle->transposed) { /* b is [n][k], column-major k x n: becomes n x k */
            xsmm.transpose(handle->transposed, b, sizeof *b, g->k, g->n, g->ldb, g->n);
            b = handle->transposed;
        }
        handle->kernel(b, member_of(g->a, member), (float *)g->c.data + member * g->c.stride);
    }
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

const eab_bench_library *eab_bench_library_at(int32_t implementation) {
    static const eab_bench_library openblas_library = {openblas_unavailable, NULL, openblas_product, NULL},
                                   xsmm_library = {xsmm_unavailable, xsmm_prepare, xsmm_product, xsmm_release};
    return implementation == EAB_BENCH_OPENBLAS  ? &openblas_library
           : implementation == EAB_BENCH_LIBXSMM ? &xsmm_library
                                                 : NULL;
}
