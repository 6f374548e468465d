/* manifest.ini of a folder: the resolved spec, which can be run again, and [environment], which such a run ignores: the
 * build, the machine and the settings of the run that wrote the folder's rows. */
#ifndef EAB_RUN_MANIFEST_H
#define EAB_RUN_MANIFEST_H

#include <glib.h>

#include "settings.h"

/* The keys of [environment] in the manifest's order, NULL-terminated: "version", "commit", ... */
extern const char *const eab_environment_keys[];

/* Values by key; a key without an entry is not known. */
typedef GHashTable eab_environment;

/* What is known of the build, this machine, the time and `settings`. */
eab_environment *eab_environment_collect(const eab_run_settings *settings);
void eab_environment_free(eab_environment *environment); /* may be NULL */

/* The key's value; "" if it is not known. */
const char *eab_environment_get(eab_environment *environment, const char *key);

/* Sets the key's value, cleaned by eab_line_clean; NULL is "". */
void eab_environment_set(eab_environment *environment, const char *key, const char *value);
void eab_environment_set_peak(eab_environment *environment, double gflop_per_s);

/* Sets the key's value to that of another environment, if it is known there. */
void eab_environment_keep(eab_environment *environment, eab_environment *old, const char *key);

/* The differences in version, commit, backend and isa, on which the last bits of results depend: "isa 'avx2' (LABEL
 * 'base')", with the value of `a` first; "" if there are none. g_free */
char *eab_environment_differences(eab_environment *a, eab_environment *b, const char *label);

/* Replaces FOLDER/manifest.ini atomically. EAB_IO if it cannot be written. */
int eab_manifest_write(const char *folder, const char *resolved, eab_environment *environment);

/* Whether the files `texts` (of eab_text; may be NULL) have the digests that the manifest, if there is one, notes for
 * their paths. EAB_BAD_INPUT for one that has changed. */
int eab_manifest_check_texts(const char *folder, const GPtrArray *texts);

/* Reads [environment]; NULL if there is no manifest yet. EAB_BAD_INPUT if the file is not a manifest of eabench: then
 * it must not be replaced. */
int eab_manifest_read(const char *folder, eab_environment **environment);

#endif
