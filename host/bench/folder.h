/* The folder of a bench: its lock, manifest.ini, kernels.csv and, on request, samples.csv. */
#ifndef EAB_BENCH_FOLDER_H
#define EAB_BENCH_FOLDER_H

#include "run/folder.h"
#include "table.h"

typedef struct eab_bench_folder eab_bench_folder;

/* Opens or creates it and takes its lock. Rows of earlier runs stay, and new ones are appended (a torn last line is dropped).
 * EAB_BAD_INPUT where another process holds the folder, its kernels.csv is not of this version, or it holds a sweep; EAB_IO.
 * `resolved`: the request as INI text, for the manifest. */
int eab_bench_folder_open(const char *path, const char *resolved, const eab_run_settings *settings, bool samples,
                          eab_bench_folder **opened);

/* One line on what this run does not share with the folder's first one; "" if all is the same. */
const char *eab_bench_folder_warning(const eab_bench_folder *folder);

/* Whether a row of these axes, backend, device and cache, with status ok, was there at the opening. */
bool eab_bench_folder_has(const eab_bench_folder *folder, const eab_bench_row *row);

/* Appends the row, and its samples where they were asked for; synced. */
int eab_bench_folder_append(eab_bench_folder *folder, const eab_bench_row *row, const double *seconds, size_t count);

/* Writes the peak into the manifest. */
int eab_bench_folder_set_peak(eab_bench_folder *folder, double gflop_per_s);

void eab_bench_folder_close(eab_bench_folder *folder);

#endif
