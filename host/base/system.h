/* The machine, the process and the clock. All code in host/ that only works on Linux or with glibc is in system.c. */
#ifndef EAB_BASE_SYSTEM_H
#define EAB_BASE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- cores and memory ---------------------------------------------------------------------------------------- */

/* Cores that this process may run on, or fewer if its control groups have a CPU quota (a part of a core counts as one);
 * at least 1. */
int eab_system_cores(void);

/* A hash of the set of these cores: processes with equal hashes share their cores. */
uint64_t eab_system_core_hash(void);

/* Keeps the calling thread on its current core. */
void eab_system_pin_thread(void);

/* Memory that this process may use: all of the machine's, or the least limit of its control groups. Thread-safe. */
double eab_system_memory_bytes(void);

/* Memory that is free now, at most eab_system_memory_bytes(); 0: unknown. */
double eab_system_free_bytes(void);

/* Memory of this process that is resident now; 0: unknown. */
double eab_system_resident_bytes(void);

/* For how long the process with this id has been running; NAN: unknown. */
double eab_system_process_age_s(int64_t process);

/* Asks for large pages where the block is megabytes long: tables of a million rows are filled and read faster. */
void eab_system_use_large_pages(void *block, size_t size);

/* The largest cache of the first core, as Linux reports it (in a virtual machine cpuid may describe the whole host); 0:
 * unknown. */
size_t eab_system_cache_bytes(void);

/* ---- load ------------------------------------------------------------------------------------------------------ */

/* Counters of time, in seconds, or their growth between two moments. */
typedef struct {
    double elapsed_s; /* on the monotonic clock */
    double own_s;     /* CPU time of this process */
    double used_s;    /* CPU time of all processes, on the cores that this one may use; NAN: unknown */
    double stolen_s;  /* time in which a hypervisor gave these cores to other machines; NAN: unknown */
} eab_load;

/* The counters now. Thread-safe. */
eab_load eab_system_load(void);

eab_load eab_load_between(eab_load from, eab_load to);

/* Cores that other processes used, on average; NAN: unknown. Here and below, `load` is from eab_load_between. */
double eab_load_other_cores(const eab_load *load);

/* Cores that the hypervisor took, on average; NAN: unknown. */
double eab_load_stolen_cores(const eab_load *load);

/* Whether others may have slowed this process down: they used more than a tenth of what it used itself, and less than
 * half of its cores was idle (the other half may be second threads of the same cores); or the hypervisor took more
 * than a tenth of what it used. Linux counts in ticks of 10 ms, so one tick per core is subtracted first. */
bool eab_load_is_busy(const eab_load *load);

/* ---- names for the manifest: NULL if unknown; g_free ----------------------------------------------------------- */

char *eab_system_os(void);
char *eab_system_processor(void);
char *eab_system_processor_clock(void); /* the maximum if the kernel knows it, else the current one */
char *eab_system_gpu_driver(void);
char *eab_system_c_library(void);

/* ---- the program and the clock ----------------------------------------------------------------------------------- */

/* A link to the running program's file. */
#define EAB_SYSTEM_PROGRAM "/proc/self/exe"

/* argv[0] of main. */
char *eab_system_program_name(void);

/* Writes the time as "2025-11-22T08:31:00Z": UTC, independent of TZ. Also in a signal handler. */
enum { EAB_TIME_SIZE = 21 };
void eab_time_print(char text[EAB_TIME_SIZE]);

#endif
