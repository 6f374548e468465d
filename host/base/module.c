#include "module.h"

#include <dlfcn.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

void *eab_module_open(const char *name, bool global) {
    char *program = g_file_read_link(EAB_SYSTEM_PROGRAM, NULL);
    if (!program) return NULL;
    char *folder = g_path_get_dirname(program);
    char *beside = g_strdup_printf("%s/lib%s.so", folder, name);
    char *modules = g_canonicalize_filename(EAB_MODULE_FOLDER, folder); /* which may be absolute */
    char *installed = g_strdup_printf("%s/lib%s.so", modules, name);
    void *module =
        dlopen(access(beside, F_OK) == 0 ? beside : installed, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    g_free(installed);
    g_free(modules);
    g_free(beside);
    g_free(folder);
    g_free(program);
    return module;
}

bool eab_module_find(void *module, const char *name, void *symbol, size_t size) {
    void *const found = dlsym(module, name);
    memcpy(symbol, &found, size);
    return found;
}
