/* The machine, the process and the clock. All code in host/ that only works on Linux or with glibc is in system.c. */
#ifndef EAB_BASE_SYSTEM_H
#define EAB_BASE_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* ---- cores and memory ---------------------------------------------------------------------------------------- */

/* Cores that this process may run on; at least 1. */
int eab_system_cores(void);

/* A hash of the set of these cores: processes with equal hashes share their cores. */
uint64_t eab_system_core_hash(void);

/* Keeps the calling thread on its current core. */
void eab_system_pin_thread(void);

/* Memory that this process may use: all of the machine's, or less in a container. Thread-safe. */
double eab_system_memory_bytes(void);

/* Memory that is free now; 0: unknown. */
double eab_system_free_bytes(void);

/* The largest cache of the first core, as Linux reports it (in a virtual machine cpuid may describe the whole host); 0:
 * unknown. */
size_t eab_system_cache_bytes(void);

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

/* Writes the time as "2025-11-22T08:31:00Z": UTC, independent of TZ. */
void eab_time_print(char *text, size_t size);

#endif
