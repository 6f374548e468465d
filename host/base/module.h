/* Libraries that lie beside the program and are loaded only when they are asked for. */
#ifndef EAB_BASE_MODULE_H
#define EAB_BASE_MODULE_H

#include <stdbool.h>
#include <stddef.h>

/* Loads lib`name`.so from the program's own folder or from where it is installed (../lib/eabench or the like);
 * `everywhere`: what it brings is seen by libraries that are loaded later. NULL where it cannot be; dlerror() tells. */
void *eab_module_open(const char *name, bool everywhere);

/* Finds a function or object (ISO C has no cast from data to code): into *symbol, of `size` bytes. */
bool eab_module_find(void *module, const char *name, void *symbol, size_t size);

#endif
