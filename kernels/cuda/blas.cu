/* cuBLAS: each product is one call of cublasGemmStridedBatchedEx, over all members. On the quick ladder's fleet of 512
 * it computes the products without bias and finish: gradients of weights (k = 768: up, 3.2 GFLOP, 48 us at an H200's 67
 * TFLOP/s, and 268 MB, 56 us) and of inputs. m and n of 32 to 128 are smaller than its usual tiles, so half of the peak
 * is expected; `eabench bench --op gemm` compares it with our own product. Not measured on a GPU yet. */
#include "blas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<cublas_v2.h>)

#include <cublas_v2.h>
#include <dlfcn.h>

/* NVIDIA recommends 32 MiB for Hopper, 4 for others. */
enum { WORKSPACE_BYTES = 32 << 20 };

/* The functions that we call, by their names in the library (the header renames them). */
#define BLAS_FUNCTION_LIST(X) \
    X(Create_v2) X(Destroy_v2) X(SetStream_v2) X(SetWorkspace_v2) X(SetMathMode) X(GetVersion_v2)

/* The type of cublasGemmStridedBatchedEx, written out because the header overloads the name (checked below). */
typedef cublasStatus_t (*blas_product)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k,
                                       const void *alpha, const void *a, cudaDataType, int lda, long long a_stride,
                                       const void *b, cudaDataType, int ldb, long long b_stride, const void *beta,
                                       void *c, cudaDataType, int ldc, long long c_stride, int batches,
                                       cublasComputeType_t, cublasGemmAlgo_t);

struct eab_cuda_blas {
    void *library, *workspace;
    cublasHandle_t handle;
    int version;
#define BLAS_MEMBER(name) decltype(&cublas##name) name;
    BLAS_FUNCTION_LIST(BLAS_MEMBER)
#undef BLAS_MEMBER
    /* written out, because the header overloads the name */
    cublasStatus_t (*GemmEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k,
                             const void *alpha, const void *a, cudaDataType a_type, int lda, const void *b,
                             cudaDataType b_type, int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
                             cublasComputeType_t, cublasGemmAlgo_t);
    blas_product product;
};

static int failed(cublasStatus_t status, const char *what) {
    return eab_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? EAB_NO_MEMORY : EAB_DEVICE_FAULT,
                    "cuBLAS: %s failed with status %d", what, (int)status);
}

/* Tries the header's major version first, because we were compiled for its interface. */
static void *find_library(void) {
    char name[512];
    const char *const folders[] = {"", "/usr/local/cuda/lib64/",
#ifdef EAB_CUDA_LIBRARY_DIR
                                   EAB_CUDA_LIBRARY_DIR "/"
#endif
    };
    for (int major = CUBLAS_VER_MAJOR; major >= 12; major--)
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
            snprintf(name, sizeof name, "%slibcublas.so.%d", folders[i], major);
            void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
            if (library) return library;
        }
    return NULL;
}

static_assert(sizeof(static_cast<blas_product>(&cublasGemmStridedBatchedEx)) > 0,
              "the header has a function of that type");

static bool find_functions(eab_cuda_blas *blas) {
    bool all = true;
#define BLAS_FIND(name)                                                                        \
    blas->name = reinterpret_cast<decltype(blas->name)>(dlsym(blas->library, "cublas" #name)); \
    all = all && blas->name;
    BLAS_FUNCTION_LIST(BLAS_FIND)
#undef BLAS_FIND
    blas->GemmEx = reinterpret_cast<decltype(blas->GemmEx)>(dlsym(blas->library, "cublasGemmEx"));
    blas->product = reinterpret_cast<blas_product>(dlsym(blas->library, "cublasGemmStridedBatchedEx"));
    return all && blas->GemmEx && blas->product;
}

static int prepare(eab_cuda_blas *blas, cudaStream_t stream) {
    cublasStatus_t status = blas->Create_v2(&blas->handle);
    if (status) return failed(status, "cublasCreate");
    EAB_CUDA(cudaMalloc(&blas->workspace, WORKSPACE_BYTES)); /* the error is cleared: own products need no memory */
    blas->GetVersion_v2(blas->handle, &blas->version);
    /* Float32 products stay float32, because TF32 is opt-in. cublas_api.h says at cublasMath_t that
     * CUBLAS_TF32_TENSOR_OP_MATH allows it, and at cublasComputeType_t that the default types keep at least the
     * storage's precision and range; only _FAST types lose some. */
    status = blas->SetMathMode(blas->handle, CUBLAS_DEFAULT_MATH);
    if (status) return failed(status, "cublasSetMathMode");
    return eab_cuda_blas_set_stream(blas, stream);
}

int eab_cuda_blas_open(cudaStream_t stream, eab_cuda_blas **opened) {
    *opened = NULL;
    const char *product = getenv("EAB_CUDA_PRODUCT");
    if (product && strcmp(product, "own") == 0) return EAB_OK;
    void *library = find_library();
    if (!library) return EAB_OK;
    eab_cuda_blas *blas = (eab_cuda_blas *)calloc(1, sizeof *blas);
    if (!blas) return eab_fail(EAB_NO_MEMORY, "no memory for cuBLAS");
    blas->library = library;
    if (!find_functions(blas)) {
        eab_cuda_blas_close(blas);
        return EAB_OK;
    }
    /* If cuBLAS cannot be used, our own products are. A fault of the device shows in the next call. */
    if (prepare(blas, stream)) eab_cuda_blas_close(blas);
    else *opened = blas;
    return EAB_OK;
}

/* The library stays loaded, because it cannot be unloaded safely. */
void eab_cuda_blas_close(eab_cuda_blas *blas) {
    if (!blas) return;
    if (blas->handle) blas->Destroy_v2(blas->handle);
    if (blas->workspace) cudaFree(blas->workspace);
    free(blas);
}

/* Setting the stream resets the workspace, so it is set again. */
int eab_cuda_blas_set_stream(eab_cuda_blas *blas, cudaStream_t stream) {
    if (!blas) return EAB_OK;
    cublasStatus_t status = blas->SetStream_v2(blas->handle, stream);
    if (status) return failed(status, "cublasSetStream");
    status = blas->SetWorkspace_v2(blas->handle, blas->workspace, WORKSPACE_BYTES);
    return status ? failed(status, "cublasSetWorkspace") : (int)EAB_OK;
}

void eab_cuda_blas_describe(const eab_cuda_blas *blas, char *text, size_t size) {
    if (!blas) snprintf(text, size, "own products");
    else snprintf(text, size, "cuBLAS %d.%d", blas->version / 10000, blas->version % 10000 / 100);
}

/* cuBLAS is column-major: it computes c^T = op(b)^T op(a)^T, so a and b are exchanged and no data move. */
int eab_cuda_blas_product(eab_cuda_blas *blas, const eab_gemm *gemm) {
    const float one = 1, beta = gemm->accumulate ? 1 : 0;
    const cudaDataType_t inputs = gemm->precision == EAB_PRECISION_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasComputeType_t compute =
        gemm->precision == EAB_PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const cublasStatus_t status =
        blas->product(blas->handle, gemm->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                      gemm->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, gemm->n, gemm->m, gemm->k, &one, gemm->b.data,
                      inputs, gemm->ldb, gemm->b.stride, gemm->a.data, inputs, gemm->lda, gemm->a.stride, &beta,
                      gemm->c.data, CUDA_R_32F, gemm->ldc, gemm->c.stride, gemm->members, compute, CUBLAS_GEMM_DEFAULT);
    if (!status) return EAB_OK;
    EAB_CUDA(cudaPeekAtLastError()); /* an earlier kernel may have caused it */
    return eab_fail(status == CUBLAS_STATUS_ALLOC_FAILED ? EAB_NO_MEMORY : EAB_DEVICE_FAULT,
                    "cublasGemmStridedBatchedEx of %d times %d x %d x %d failed with status %d", (int)gemm->members,
                    (int)gemm->m, (int)gemm->n, (int)gemm->k, (int)status);
}

int eab_cuda_blas_half_square(eab_cuda_blas *blas, int32_t dtype, int32_t side, const void *a, const void *b, void *c) {
    const float one = 1, zero = 0;
    const cudaDataType type = dtype == EAB_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    const cublasStatus_t status =
        blas->GemmEx(blas->handle, CUBLAS_OP_N, CUBLAS_OP_N, side, side, side, &one, b, type, side, a, type, side,
                     &zero, c, type, side, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    return status ? failed(status, "cublasGemmEx") : (int)EAB_OK;
}

#else

int eab_cuda_blas_open(cudaStream_t, eab_cuda_blas **blas) {
    *blas = NULL;
    return EAB_OK;
}
void eab_cuda_blas_close(eab_cuda_blas *) {}
int eab_cuda_blas_set_stream(eab_cuda_blas *, cudaStream_t) { return EAB_OK; }
void eab_cuda_blas_describe(const eab_cuda_blas *, char *text, size_t size) { snprintf(text, size, "own products"); }
int eab_cuda_blas_product(eab_cuda_blas *, const eab_gemm *) {
    return eab_fail(EAB_UNSUPPORTED, "this build has no cuBLAS");
}

int eab_cuda_blas_half_square(eab_cuda_blas *, int32_t, int32_t, const void *, const void *, void *) {
    return eab_fail(EAB_UNSUPPORTED, "this build has no cuBLAS");
}

#endif
