/* What a run ran on: the [environment] section of its manifest. */
#ifndef EAB_RUN_ENVIRONMENT_H
#define EAB_RUN_ENVIRONMENT_H

#include "settings.h"

enum { EAB_ENVIRONMENT_KEYS = 19 };

/* In the manifest's order: "version", "commit", ... */
extern const char *const eab_environment_keys[EAB_ENVIRONMENT_KEYS];

/* A value for each key; NULL: not known. */
typedef struct {
    char *value[EAB_ENVIRONMENT_KEYS];
} eab_environment;

/* Fills in what is known of the build, this machine, now and `settings`. */
void eab_environment_collect(const eab_run_settings *settings, eab_environment *environment);
void eab_environment_free(eab_environment *environment);

/* The key's value; "" if it is not known. */
const char *eab_environment_get(const eab_environment *environment, const char *key);

/* Sets the key's value, made one line; an unknown key is ignored. */
void eab_environment_set(eab_environment *environment, const char *key, const char *value);

/* Sets peak_gflop_per_s. */
void eab_environment_set_peak(eab_environment *environment, double gflop_per_s);

/* What differs of version, commit, backend and isa, on which the last bits of results depend: "isa 'avx2' (LABEL
 * 'base')", with the value of `a` first; "" if nothing does. g_free. */
char *eab_environment_differences(const eab_environment *a, const eab_environment *b, const char *label);

#endif
