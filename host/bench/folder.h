/* The folder of a bench: its lock, manifest.ini, kernels.csv and, on request, samples.csv. */
#ifndef EAB_BENCH_FOLDER_H
#define EAB_BENCH_FOLDER_H

#include "run/settings.h"
#include "table.h"

typedef struct eab_bench_folder eab_bench_folder;

/* Opens or creates the folder and takes its lock. Rows of earlier runs stay and new ones are appended; a torn last
 * line is removed. Prints a warning if the earlier rows are of another commit or device. EAB_BAD_INPUT if another
 * process holds the folder, its kernels.csv is not of this version, or it holds a sweep; EAB_IO. For the manifest:
 * `resolved`, the request as INI text, and the settings. samples: also keep samples.csv. */
int eab_bench_folder_open(const char *path, const char *resolved, const eab_run_settings *settings, bool samples,
                          eab_bench_folder **opened);

/* Whether the folder had a row with these axes, backend, device and cache and status ok when it was opened. */
bool eab_bench_folder_has(const eab_bench_folder *folder, const eab_bench_row *row);

/* Appends the row, and with `samples` its samples (of double); synced. */
int eab_bench_folder_append(eab_bench_folder *folder, const eab_bench_row *row, const GArray *seconds);

void eab_bench_folder_close(eab_bench_folder *folder);

#endif
