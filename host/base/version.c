#include "version.h"

#include "build_info.h" /* written by build_info.cmake at build time */

const char *eab_build_version(void) { return EAB_BUILD_VERSION; }
const char *eab_build_commit(void) { return EAB_BUILD_COMMIT; }
