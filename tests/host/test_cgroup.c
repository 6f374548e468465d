/* The limits of control groups, from /proc and /sys as copied into a folder. */
#include <criterion/criterion.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <math.h>

#include "host/base/cgroup.h"
#include "host/base/system.h"

static char *root;

static void make_root(void) { root = g_dir_make_tmp("eab-cgroup-XXXXXX", NULL); }

static void remove_tree(const char *path) {
    GDir *folder = g_dir_open(path, 0, NULL);
    for (const char *name = folder ? g_dir_read_name(folder) : NULL; name; name = g_dir_read_name(folder)) {
        char *below = g_build_filename(path, name, NULL);
        remove_tree(below);
        g_free(below);
    }
    if (folder) g_dir_close(folder);
    g_remove(path);
}

static void remove_root(void) {
    remove_tree(root);
    g_free(root);
}

static void put(const char *path, const char *text) {
    char *file = g_build_filename(root, path, NULL), *folder = g_path_get_dirname(file);
    cr_assert_eq(g_mkdir_with_parents(folder, 0700), 0);
    cr_assert(g_file_set_contents(file, text, -1, NULL));
    g_free(folder);
    g_free(file);
}

static void expect_limits(double cores, double memory_bytes) {
    const eab_cgroup_limits found = eab_cgroup_read(root);
    cr_expect_eq(found.cores, cores, "%g cores, not %g", found.cores, cores);
    cr_expect_eq(found.memory_bytes, memory_bytes, "%g bytes, not %g", found.memory_bytes, memory_bytes);
}

#define MIB 1048576.0

TestSuite(cgroup, .init = make_root, .fini = remove_root);

Test(cgroup, nothing_to_read_is_no_limit) { expect_limits(HUGE_VAL, HUGE_VAL); }

/* A job step under Slurm: the job has the memory limit, the step the quota, an ancestor of both a larger limit. */
Test(cgroup, version_2_takes_the_least_of_all_ancestors) {
    put("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n");
    put("proc/self/mountinfo", "25 30 0:23 / /proc rw - proc proc rw\n"
                               "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    put("sys/fs/cgroup/memory.max", "104857600\n"); /* 100 MiB */
    put("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max", "52428800\n");
    put("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max", "max\n");
    put("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user/task_0/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/system.slice/other/memory.max", "4096\n"); /* no ancestor */
    expect_limits(1.5, 50 * MIB);
}

Test(cgroup, version_1_has_a_hierarchy_for_each_controller) {
    put("proc/self/cgroup",
        "9:name=systemd:/\n4:memory:/slurm/uid_0/job_7/step_0\n2:cpu,cpuacct:/slurm/uid_0/job_7\n0::/\n");
    put("proc/self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                               "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
                               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/slurm/uid_0/memory.limit_in_bytes", "209715200\n");
    put("sys/fs/cgroup/memory/slurm/uid_0/job_7/step_0/memory.limit_in_bytes", "314572800\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/cpu.cfs_quota_us", "25000\n");
    put("sys/fs/cgroup/cpu,cpuacct/slurm/uid_0/job_7/cpu.cfs_period_us", "100000\n");
    expect_limits(0.25, 200 * MIB);
}

/* In a container the mount's top is the container's own group: its path is that of the host. */
Test(cgroup, a_mount_may_begin_below_the_top) {
    put("proc/self/cgroup", "4:memory:/docker/abc/inner\n3:cpu:/../outside\n");
    put("proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/my\\040groups ro - cgroup cgroup rw,memory\n"
                               "36 31 0:33 /docker/abc /sys/fs/cpu ro master:3 - cgroup cgroup rw,cpu\n");
    put("sys/fs/my groups/memory.limit_in_bytes", "104857600\n");
    put("sys/fs/my groups/inner/memory.limit_in_bytes", "83886080\n");
    put("sys/fs/memory.limit_in_bytes", "1\n"); /* above the mount */
    put("sys/fs/cpu/cpu.cfs_quota_us", "200000\n");
    put("sys/fs/cpu/cpu.cfs_period_us", "100000\n");
    expect_limits(2, 80 * MIB);
}

Test(cgroup, nonsense_is_no_limit) {
    put("proc/self/cgroup", "\n0\n0:\n::::\n0::\n0::relative\n0::/../../etc\n");
    put("proc/self/mountinfo", "\n - \n- cgroup2\n1 2 3 / /a rw - cgroup2\n1 - cgroup2 x y\n"
                               "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/memory.max", "nan\n");
    put("sys/fs/cgroup/cpu.max", "0 0 1e999\n");
    expect_limits(HUGE_VAL, HUGE_VAL);
    put("sys/fs/cgroup/memory.max", "-5\n");
    put("sys/fs/cgroup/cpu.max", "1e999 100000\n");
    expect_limits(HUGE_VAL, HUGE_VAL);
}

/* This machine's: at least one core, within what the groups allow. */
Test(cgroup, the_process_keeps_its_limits) {
    const eab_cgroup_limits limits = eab_cgroup_read("");
    cr_expect_geq(eab_system_cores(), 1);
    cr_expect_lt(eab_system_cores(), limits.cores + 1);
    cr_expect_leq(eab_system_memory_bytes(), limits.memory_bytes);
    cr_expect_leq(eab_system_free_bytes(), eab_system_memory_bytes());
    cr_expect_gt(eab_system_resident_bytes(), 100e3);
    cr_expect_lt(eab_system_resident_bytes(), eab_system_memory_bytes());
}
