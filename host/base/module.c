#include "module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

void *eab_module_open(const char *name, bool everywhere) {
    static const char *const places[] = {"", "../" EAB_MODULE_FOLDER "/"};
    char program[4096], path[sizeof program + 256];
    const ssize_t length = readlink(EAB_SYSTEM_PROGRAM, program, sizeof program - 1);
    void *found = NULL;
    if (length <= 0) return NULL;
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    if (slash) slash[1] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%slib%s.so", program, places[i], name);
        const bool last = i + 1 == sizeof places / sizeof *places;
        if (last || access(path, F_OK) == 0) {
            found = dlopen(path, RTLD_NOW | (everywhere ? RTLD_GLOBAL : RTLD_LOCAL));
            break; /* where it cannot be loaded, dlerror says why */
        }
    }
    return found;
}

bool eab_module_find(void *module, const char *name, void *symbol, size_t size) {
    void *const found = dlsym(module, name);
    memcpy(symbol, &found, size);
    return found;
}
