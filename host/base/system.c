#define _GNU_SOURCE /* sched_getaffinity, program_invocation_name */
#include "system.h"

#include <errno.h>
#include <glib.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "kernels/clock.h"

/* ---- files of /proc and /sys ----------------------------------------------------------------------------------- */

/* The value in the file's first line "key: value"; NULL if there is none. g_free */
static char *read_value(const char *path, const char *key) {
    char *text = NULL, *value = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) return NULL;
    char **lines = g_strsplit(text, "\n", 400); /* cpuinfo describes each core; the first one is enough */
    for (char **line = lines; *line && !value; line++) {
        if (!g_str_has_prefix(*line, key)) continue;
        const char *rest = *line + strlen(key);
        rest += strspn(rest, " \t");
        if (*rest == ':') value = g_strstrip(g_strdup(rest + 1));
    }
    g_strfreev(lines);
    g_free(text);
    return value;
}

/* The number at the beginning of a file, times 2^10 if K follows it, times 2^20 for M; `otherwise` if there is none. */
static double read_number(const char *path, double otherwise) {
    char *text = NULL, *end;
    double number = otherwise;
    if (g_file_get_contents(path, &text, NULL, NULL) && g_ascii_isdigit(text[0])) {
        number = g_ascii_strtod(text, &end);
        if (*end == 'K') number *= 1 << 10;
        if (*end == 'M') number *= 1 << 20;
    }
    g_free(text);
    return number;
}

/* ---- cores and memory ---------------------------------------------------------------------------------------- */

/* The mask of the cores that this process may run on, of *size bytes; NULL: unknown. CPU_FREE */
static cpu_set_t *core_mask(size_t *size) {
    for (size_t bits = 1024; bits <= 1 << 20; bits *= 4) { /* the kernel's mask may be wider than cpu_set_t */
        cpu_set_t *set = CPU_ALLOC(bits);
        *size = CPU_ALLOC_SIZE(bits);
        if (!set) break;
        CPU_ZERO_S(*size, set);
        if (sched_getaffinity(0, *size, set) == 0 && CPU_COUNT_S(*size, set) > 0) return set;
        CPU_FREE(set);
    }
    return NULL;
}

static eab_cgroup_limits group_limits;

static void find_group_limits(void) { group_limits = eab_cgroup_read(""); }

static const eab_cgroup_limits *know_group_limits(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_group_limits);
    return &group_limits;
}

int eab_system_cores(void) {
    size_t size;
    cpu_set_t *set = core_mask(&size);
    const int cores = set ? CPU_COUNT_S(size, set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (set) CPU_FREE(set);
    return MAX(1, (int)fmin(cores, ceil(know_group_limits()->cores)));
}

uint64_t eab_system_core_hash(void) {
    size_t size;
    cpu_set_t *set = core_mask(&size);
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; set && i < size; i++) hash = (hash ^ ((const unsigned char *)set)[i]) * UINT64_C(1099511628211);
    if (set) CPU_FREE(set);
    return hash;
}

/* The cores of the whole process: found before a thread is pinned. */
static cpu_set_t *own_cores;
static size_t own_cores_size;

static void find_own_cores(void) { own_cores = core_mask(&own_cores_size); }

static void know_own_cores(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_own_cores);
}

void eab_system_pin_thread(void) {
    cpu_set_t one;
    know_own_cores();
    const int core = sched_getcpu();
    if (core < 0 || core >= CPU_SETSIZE) return;
    CPU_ZERO(&one);
    CPU_SET((size_t)core, &one);
    sched_setaffinity(0, sizeof one, &one);
}

double eab_system_memory_bytes(void) {
    const double physical = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return fmin(physical > 0 ? physical : HUGE_VAL, know_group_limits()->memory_bytes);
}

/* A line of a file of /proc in KiB, as bytes; 0: unknown. */
static double read_kib(const char *path, const char *key) {
    char *text = read_value(path, key);
    const double kib = text ? g_ascii_strtod(text, NULL) : 0;
    g_free(text);
    return 1024 * kib;
}

double eab_system_free_bytes(void) {
    return fmin(read_kib("/proc/meminfo", "MemAvailable"), eab_system_memory_bytes());
}

void eab_system_use_large_pages(void *block, size_t size) {
    const size_t page = 2 << 20, before = -(uintptr_t)block % page;
    if (size > 2 * page) madvise((char *)block + before, (size - before) / page * page, MADV_HUGEPAGE);
}

double eab_system_resident_bytes(void) { return read_kib("/proc/self/status", "VmRSS"); }

/* The 22nd field of /proc/PID/stat: ticks from the machine's start to the process's. The second one is the program's
 * name in parentheses, which may hold any characters. */
double eab_system_process_age_s(int64_t process) {
    enum { AFTER_NAME = 20 };
    char path[64], *text = NULL;
    struct timespec now;
    double age_s = NAN;
    g_snprintf(path, sizeof path, "/proc/%lld/stat", (long long)process);
    if (clock_gettime(CLOCK_BOOTTIME, &now) || !g_file_get_contents(path, &text, NULL, NULL)) return NAN;
    const char *name_end = strrchr(text, ')');
    char **fields = g_strsplit(name_end ? name_end : "", " ", -1);
    if (g_strv_length(fields) > AFTER_NAME)
        age_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec -
                g_ascii_strtod(fields[AFTER_NAME], NULL) / (double)sysconf(_SC_CLK_TCK);
    g_strfreev(fields);
    g_free(text);
    return age_s;
}

size_t eab_system_cache_bytes(void) {
    double largest = 0;
    for (int index = 0; index < 8; index++) {
        char path[80];
        g_snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        largest = fmax(largest, read_number(path, 0));
    }
    return (size_t)largest;
}

/* ---- load ------------------------------------------------------------------------------------------------------ */

/* Adds the core's line of /proc/stat: user nice system idle iowait irq softirq steal, in ticks. */
static void add_core(const char *line, eab_load *load) {
    char *at;
    double ticks[8];
    if (!g_str_has_prefix(line, "cpu") || !g_ascii_isdigit(line[3])) return; /* the first line has their sum */
    const size_t core = g_ascii_strtoull(line + 3, &at, 10);
    for (int i = 0; i < 8; i++) ticks[i] = (double)g_ascii_strtoull(at, &at, 10); /* 0 where a kernel lacks some */
    if (!own_cores || !CPU_ISSET_S(core, own_cores_size, own_cores)) return;
    const double tick_s = 1 / (double)sysconf(_SC_CLK_TCK);
    load->used_s += tick_s * (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]);
    load->stolen_s += tick_s * ticks[7];
}

eab_load eab_system_load(void) {
    eab_load load = {.elapsed_s = eab_now_s()};
    struct rusage usage;
    char *text = NULL;
    know_own_cores();
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        load.own_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    if (g_file_get_contents("/proc/stat", &text, NULL, NULL)) {
        char **lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line && g_str_has_prefix(*line, "cpu"); line++) add_core(*line, &load);
        g_strfreev(lines);
    }
    if (!(load.used_s > 0)) load.used_s = load.stolen_s = NAN;
    g_free(text);
    return load;
}

eab_load eab_load_between(eab_load from, eab_load to) {
    return (eab_load){to.elapsed_s - from.elapsed_s, to.own_s - from.own_s, to.used_s - from.used_s,
                      to.stolen_s - from.stolen_s};
}

double eab_load_other_cores(const eab_load *load) {
    const double other_s = load->used_s - load->own_s;
    return (other_s < 0 ? 0 : other_s) / load->elapsed_s; /* the ticks are coarser than own_s */
}

double eab_load_stolen_cores(const eab_load *load) { return load->stolen_s / load->elapsed_s; }

bool eab_load_is_busy(const eab_load *load) {
    static const double LEAST_SHARE = 0.1, IDLE_SHARE = 0.5;
    know_own_cores();
    const int cores = own_cores ? CPU_COUNT_S(own_cores_size, own_cores) : 1;
    const double slack_s = cores / (double)sysconf(_SC_CLK_TCK), least_s = LEAST_SHARE * load->own_s + slack_s;
    const double other_s = load->used_s - load->own_s, all_s = (double)cores * load->elapsed_s;
    return load->stolen_s > least_s || (other_s > least_s && load->used_s > (1 - IDLE_SHARE) * all_s);
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

char *eab_system_os(void) {
    struct utsname name;
    char *pretty = g_get_os_info(G_OS_INFO_KEY_PRETTY_NAME);
    if (uname(&name)) return pretty;
    char *os = g_strdup_printf("%s%s%s %s %s", pretty ? pretty : "", pretty ? ", " : "", name.sysname, name.release,
                               name.machine);
    g_free(pretty);
    return os;
}

char *eab_system_processor(void) { return read_value("/proc/cpuinfo", "model name"); }

char *eab_system_processor_clock(void) {
    double mhz = read_number("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", 0) / 1000;
    if (mhz == 0) {
        char *text = read_value("/proc/cpuinfo", "cpu MHz");
        if (text) mhz = g_ascii_strtod(text, NULL);
        g_free(text);
    }
    return mhz > 0 && mhz < 1e6 ? g_strdup_printf("%.0f MHz", mhz) : NULL;
}

char *eab_system_gpu_driver(void) { return read_value("/proc/driver/nvidia/version", "NVRM version"); }

char *eab_system_c_library(void) { return g_strdup_printf("glibc %s", gnu_get_libc_version()); }

/* ---- the program and the clock ----------------------------------------------------------------------------------- */

char *eab_system_program_name(void) { return program_invocation_name; }

static int64_t days_of_month(int64_t year, int month) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month] + (month == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* Without gmtime_r: it takes a lock, which the thread that a signal interrupts may hold. */
void eab_time_print(char text[EAB_TIME_SIZE]) {
    const int64_t now = time(NULL), second = now % 86400;
    int64_t day = now / 86400, year = 1970;
    int month = 0;
    for (; day >= days_of_month(year, month); month = (month + 1) % 12) {
        day -= days_of_month(year, month);
        year += month == 11;
    }
    const int64_t numbers[] = {year, month + 1, day + 1, second / 3600, second / 60 % 60, second % 60};
    memcpy(text, "0000-00-00T00:00:00Z", EAB_TIME_SIZE);
    for (int i = 0; i < 6; i++)
        for (int64_t number = numbers[i], at = 3 + 3 * i; number; number /= 10) text[at--] += (char)(number % 10);
}
