/* What a kernel calls: its place in the grid, barriers, shuffles, votes, atomics, shared arrays. Warp-wide calls wait
 * until every lane that the mask names has made the same call; a lane that cannot come is a finding. Lines are the
 * caller's, for messages. */
#ifndef EAB_TESTS_SIMT_DEVICE_H
#define EAB_TESTS_SIMT_DEVICE_H

#include "simt_types.h"

#define SIMT_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* Constant in a kernel's thread, which the attribute tells the optimiser. */
__attribute__((const)) dim3 simt_thread_index();
__attribute__((const)) dim3 simt_block_index();
__attribute__((const)) dim3 simt_block_dim();
__attribute__((const)) dim3 simt_grid_dim();
#define threadIdx (simt_thread_index())
#define blockIdx (simt_block_index())
#define blockDim (simt_block_dim())
#define gridDim (simt_grid_dim())
constexpr int warpSize = 32;

/* ---- shared memory ----------------------------------------------------------------------------------------------- */

void *simt_shared_array(const void *key, size_t bytes, size_t alignment, const char *name, SIMT_SITE);
unsigned char *simt_dynamic_shared(SIMT_SITE);

/* The address of `name_key` tells one declaration (in one instantiation of a template) from all others. */
#define EAB_SHARED(type, name, count) \
    static char name##_key;           \
    type(&name)[count] =              \
        *static_cast<type(*)[count]>(simt_shared_array(&name##_key, sizeof(type[count]), alignof(type), #name))
#define EAB_DYNAMIC_SHARED(name) unsigned char *const name = simt_dynamic_shared()

/* ---- barriers, fences -------------------------------------------------------------------------------------------- */

void __syncthreads(SIMT_SITE);
int __syncthreads_count(int predicate, SIMT_SITE);
int __syncthreads_or(int predicate, SIMT_SITE);
int __syncthreads_and(int predicate, SIMT_SITE);
void __syncwarp(unsigned mask = 0xffffffffu, SIMT_SITE);
inline void __threadfence() {}       /* blocks that talk to each other in a launch are a finding, fence or not */
inline void __threadfence_block() {} /* so are threads of a block without a barrier */

/* ---- shuffles and votes ------------------------------------------------------------------------------------------ */

enum simt_shuffle { SIMT_SHUFFLE_INDEX, SIMT_SHUFFLE_UP, SIMT_SHUFFLE_DOWN, SIMT_SHUFFLE_XOR };
uint64_t simt_shuffle_bits(simt_shuffle kind, unsigned mask, uint64_t value, int argument, int width, const char *file,
                           int line);

template <typename T>
inline T simt_shuffle_value(simt_shuffle kind, unsigned mask, T value, int argument, int width, const char *file,
                            int line) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 2, 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = simt_shuffle_bits(kind, mask, bits, argument, width, file, line);
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T> inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE) {
    return simt_shuffle_value(SIMT_SHUFFLE_INDEX, mask, value, source, width, file, line);
}
template <typename T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
    return simt_shuffle_value(SIMT_SHUFFLE_UP, mask, value, static_cast<int>(delta), width, file, line);
}
template <typename T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE) {
    return simt_shuffle_value(SIMT_SHUFFLE_DOWN, mask, value, static_cast<int>(delta), width, file, line);
}
template <typename T> inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, SIMT_SITE) {
    return simt_shuffle_value(SIMT_SHUFFLE_XOR, mask, value, lane_mask, width, file, line);
}

unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE);
int __any_sync(unsigned mask, int predicate, SIMT_SITE);
int __all_sync(unsigned mask, int predicate, SIMT_SITE);
int __reduce_add_sync(unsigned mask, int value, SIMT_SITE);
unsigned __reduce_add_sync(unsigned mask, unsigned value, SIMT_SITE);
int __reduce_max_sync(unsigned mask, int value, SIMT_SITE);
unsigned __reduce_max_sync(unsigned mask, unsigned value, SIMT_SITE);
int __reduce_min_sync(unsigned mask, int value, SIMT_SITE);
unsigned __reduce_min_sync(unsigned mask, unsigned value, SIMT_SITE);
unsigned __activemask(); /* the lanes that have not exited: the device may say less */

/* ---- loads and atomics ------------------------------------------------------------------------------------------- */

template <typename T> inline T __ldg(const T *address) { return *address; }
template <typename T> inline T __ldcs(const T *address) { return *address; }
template <typename T> inline void __stcs(T *address, T value) { *address = value; }

/* X(type): of integers only, as sums of floats in an order that varies are not reproducible. */
#define SIMT_ATOMIC_LIST(X) X(int) X(unsigned) X(unsigned long long)
#define SIMT_ATOMIC_DECLARE(type)               \
    type atomicAdd(type *address, type value);  \
    type atomicMax(type *address, type value);  \
    type atomicMin(type *address, type value);  \
    type atomicOr(type *address, type value);   \
    type atomicAnd(type *address, type value);  \
    type atomicExch(type *address, type value); \
    type atomicCAS(type *address, type compare, type value);
SIMT_ATOMIC_LIST(SIMT_ATOMIC_DECLARE)
#undef SIMT_ATOMIC_DECLARE

#endif
