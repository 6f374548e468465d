/* Memory and token operations of backends whose device is the host itself ("cpu", "reference"). */
#ifndef EAB_KERNELS_HOST_DEVICE_H
#define EAB_KERNELS_HOST_DEVICE_H

#include "../backend.h"

int eab_host_count(void);
int eab_host_allocate(eab_device *device, size_t bytes, void **memory);
void eab_host_release(eab_device *device, void *memory);
int eab_host_zero(eab_device *device, void *memory, size_t bytes);
int eab_host_copy(eab_device *device, void *to, const void *from, size_t bytes);
int eab_host_synchronize(eab_device *device);
int eab_host_generate(eab_device *device, const eab_generate_args *args, int32_t *inputs, int32_t *targets,
                      int64_t *counts);
int eab_host_feed_back(eab_device *device, const eab_generate_args *args, const int32_t *targets,
                       const int32_t *predictions, int32_t *inputs, int64_t *changed);

/* The memory and token members of eab_backend, for a designated initializer. */
#define EAB_HOST_DEVICE_OPERATIONS                                                                                  \
    .count = eab_host_count, .allocate = eab_host_allocate, .release = eab_host_release, .zero = eab_host_zero,     \
    .copy = eab_host_copy, .upload = eab_host_copy, .download = eab_host_copy, .synchronize = eab_host_synchronize, \
    .generate = eab_host_generate, .feed_back = eab_host_feed_back

#endif
