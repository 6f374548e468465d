/* Libraries beside the program that are loaded only on request. */
#ifndef EAB_BASE_MODULE_H
#define EAB_BASE_MODULE_H

#include <stdbool.h>
#include <stddef.h>

/* Loads lib`name`.so from the program's own folder, or else from where it is installed (../lib/eabench or the like).
 * global: libraries that are loaded later see its symbols. NULL after an error: dlerror() has the reason. */
void *eab_module_open(const char *name, bool global);

/* Stores the address of a function or object in *symbol, of `size` bytes (ISO C has no cast from data to code). False
 * if the module lacks it. */
bool eab_module_find(void *module, const char *name, void *symbol, size_t size);

#endif
