/* The list of backends. A backend that this build lacks is listed with the reason. */
#include <string.h>

#include "backend.h"

extern const eab_backend eab_backend_cpu, eab_backend_reference;

#ifdef EAB_WITH_CUDA
extern const eab_backend eab_backend_cuda;
#else
static const eab_backend eab_backend_cuda = {
    .name = "cuda", .dtype = "float32", .real_bytes = sizeof(float), .not_built = "this build has no CUDA"};
#endif

static const eab_backend *const backends[] = {&eab_backend_cpu, &eab_backend_reference, &eab_backend_cuda};

const eab_backend *eab_backend_at(int index) {
    return index >= 0 && index < (int)(sizeof backends / sizeof *backends) ? backends[index] : NULL;
}

const eab_backend *eab_backend_from_name(const char *name) {
    for (size_t i = 0; name && i < sizeof backends / sizeof *backends; i++)
        if (!strcmp(backends[i]->name, name)) return backends[i];
    return NULL;
}
