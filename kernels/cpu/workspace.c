#include <stdlib.h>

#include "kernels.h"

enum { ALIGNMENT = 64 };

int eab_cpu_workspace_reserve(eab_cpu_workspace *workspace, size_t bytes) {
    if (bytes <= workspace->bytes) return EAB_OK;
    const size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = rounded < bytes ? NULL : aligned_alloc(ALIGNMENT, rounded);
    if (!memory) return eab_fail(EAB_NO_MEMORY, "out of memory: %zu bytes of workspace", bytes);
    free(workspace->memory);
    workspace->memory = memory;
    workspace->bytes = rounded;
    return EAB_OK;
}

void eab_cpu_workspace_free(eab_cpu_workspace *workspace) {
    free(workspace->memory);
    *workspace = (eab_cpu_workspace){0};
}
