/* manifest.ini: the resolved spec, which runs again as it stands, and [environment], which a run ignores. */
#ifndef EAB_RUN_MANIFEST_H
#define EAB_RUN_MANIFEST_H

#include "environment.h"

/* Replaces the file (atomically). EAB_IO where it cannot be written. */
int eab_manifest_write(const char *path, const char *resolved, const eab_environment *environment);

/* Reads [environment]; *found is false where there is no file yet. EAB_BAD_INPUT where the file is no manifest of
 * eabench: then it must not be replaced. */
int eab_manifest_read(const char *path, eab_environment *environment, bool *found);

#endif
