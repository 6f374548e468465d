/* The build: its version and its commit. */
#ifndef EAB_BASE_VERSION_H
#define EAB_BASE_VERSION_H

const char *eab_build_version(void);
const char *eab_build_commit(void); /* "" if it was built outside a git checkout */

#endif
