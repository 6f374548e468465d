/* The limits that control groups set: a container's, or those of a job under Slurm. */
#ifndef EAB_BASE_CGROUP_H
#define EAB_BASE_CGROUP_H

/* HUGE_VAL: no limit. */
typedef struct {
    double cores; /* CPU time per second, such as 1.5 */
    double memory_bytes;
} eab_cgroup_limits;

/* The lowest limits of this process's groups and all their ancestors, of versions 1 and 2. `root` is put before /proc
 * and before the mount points: "", or a folder in a test. A file that cannot be read sets no limit. */
eab_cgroup_limits eab_cgroup_read(const char *root);

#endif
