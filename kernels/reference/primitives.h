/* The reference: each operation as its formula reads, one member at a time.
 *
 * Compiled twice: in float64, which everything is checked against, and in float32, the plain implementation whose error
 * other float32 code is compared with (error_ratio, docs/design.md 1). */
#ifndef EAB_KERNELS_REFERENCE_PRIMITIVES_H
#define EAB_KERNELS_REFERENCE_PRIMITIVES_H

#include "../backend.h"
#include "real.h"

int EAB_REFERENCE(gemm)(eab_device *device, const eab_gemm *gemm);
int EAB_REFERENCE(norm_forward)(eab_device *device, const eab_norm_args *args, eab_tensor x, eab_tensor y);
int EAB_REFERENCE(norm_backward)(eab_device *device, const eab_norm_args *args, eab_tensor dy, eab_tensor dx,
                                 eab_tensor dgain, eab_tensor dbias);
int EAB_REFERENCE(qk_norm_forward)(eab_device *device, const eab_qk_norm_args *args, eab_tensor qkv);
int EAB_REFERENCE(qk_norm_backward)(eab_device *device, const eab_qk_norm_args *args, eab_tensor dqkv,
                                    eab_tensor dq_gain, eab_tensor dk_gain);
int EAB_REFERENCE(activation_forward)(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                                      eab_tensor x, eab_tensor y);
int EAB_REFERENCE(activation_backward)(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                                       eab_tensor x, eab_tensor dy);
int EAB_REFERENCE(add)(eab_device *device, int32_t members, int64_t count, eab_tensor x, eab_tensor y);
int EAB_REFERENCE(dropout)(eab_device *device, const eab_shape *shape, eab_tensor x, eab_tensor y, bool add);
int EAB_REFERENCE(column_sum)(eab_device *device, int32_t members, int32_t rows, int32_t width, eab_tensor x,
                              eab_tensor sums);
int EAB_REFERENCE(rotate)(eab_device *device, const eab_shape *shape, eab_tensor qkv, bool inverse);
int EAB_REFERENCE(embed_forward)(eab_device *device, const eab_shape *shape, const eab_embedding *weights,
                                 const int32_t *tokens, int64_t tokens_stride, eab_tensor x);
int EAB_REFERENCE(embed_backward)(eab_device *device, const eab_shape *shape, const eab_embedding *gradients,
                                  const int32_t *tokens, int64_t tokens_stride, eab_tensor dx);
int EAB_REFERENCE(loss)(eab_device *device, const eab_loss_args *args);
int EAB_REFERENCE(optimizer_step)(eab_device *device, const eab_optimizer_args *args);

/* The data of one member of a tensor; NULL if it has none. */
static inline eab_real *EAB_REFERENCE(member)(eab_tensor tensor, int32_t member) {
    return tensor.data ? (eab_real *)tensor.data + member * tensor.stride : NULL;
}

static inline const eab_real *EAB_REFERENCE(read)(eab_const_tensor tensor, int32_t member) {
    return tensor.data ? (const eab_real *)tensor.data + member * tensor.stride : NULL;
}

#endif
