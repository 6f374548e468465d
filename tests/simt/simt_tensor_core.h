/* The stand-ins of kernels/cuda/tensor_core.h, which describes them. */
#ifndef EAB_TESTS_SIMT_TENSOR_CORE_H
#define EAB_TESTS_SIMT_TENSOR_CORE_H

#include "simt.h"

void simt_mma(float *d, const uint32_t *a, const uint32_t *b, bool is_bf16, const char *file, int line);
void simt_ldmatrix(uint32_t *r, int matrices, bool transposed, const void *shared, const char *file, int line);
void simt_cp_async(void *shared, const void *global, bool valid, const char *file, int line);
void simt_cp_async_commit();
void simt_cp_async_wait(int groups, const char *file, int line);

inline void eab_mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SIMT_SITE) {
    simt_mma(d, a, b, true, file, line);
}
inline void eab_mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SIMT_SITE) {
    simt_mma(d, a, b, false, file, line);
}
inline void eab_ldmatrix_x4(uint32_t (&r)[4], const void *shared, SIMT_SITE) {
    simt_ldmatrix(r, 4, false, shared, file, line);
}
inline void eab_ldmatrix_x4_trans(uint32_t (&r)[4], const void *shared, SIMT_SITE) {
    simt_ldmatrix(r, 4, true, shared, file, line);
}
inline void eab_ldmatrix_x2(uint32_t (&r)[2], const void *shared, SIMT_SITE) {
    simt_ldmatrix(r, 2, false, shared, file, line);
}
inline void eab_ldmatrix_x2_trans(uint32_t (&r)[2], const void *shared, SIMT_SITE) {
    simt_ldmatrix(r, 2, true, shared, file, line);
}
inline void eab_cp_async_16(void *shared, const void *global, bool valid, SIMT_SITE) {
    simt_cp_async(shared, global, valid, file, line);
}
inline void eab_cp_async_commit() { simt_cp_async_commit(); }
template <int N> inline void eab_cp_async_wait(SIMT_SITE) { simt_cp_async_wait(N, file, line); }

#endif
