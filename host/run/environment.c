#include "environment.h"

#include <glib.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/system.h"
#include "build_info.h" /* written by build_info.cmake at build time */
#include "kernels/backend.h"

/* The value of the first line "key : value" of a file; "" if there is none. */
static char *line_value(const char *path, const char *key) {
    char *text = NULL, *value = NULL;
    if (g_file_get_contents(path, &text, NULL, NULL)) {
        char **lines = g_strsplit(text, "\n", 400);
        for (char **line = lines; *line && !value; line++) {
            if (!g_str_has_prefix(*line, key)) continue;
            const char *rest = *line + strlen(key);
            while (*rest == ' ' || *rest == '\t') rest++;
            if (*rest == ':' || *rest == '=') value = eab_line_clean(rest + 1);
        }
        g_strfreev(lines);
    }
    g_free(text);
    return value ? value : g_strdup("");
}

static char *first_line(const char *path) {
    char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) return g_strdup("");
    text[strcspn(text, "\n")] = '\0';
    char *line = eab_line_clean(text);
    g_free(text);
    return line;
}

static char *operating_system(void) {
    struct utsname name;
    char *pretty = line_value("/etc/os-release", "PRETTY_NAME");
    for (char *c = pretty; *c; c++)
        if (*c == '"' || *c == '\'') *c = ' ';
    g_strstrip(pretty);
    char *os = uname(&name) ? g_strdup(pretty)
                            : g_strdup_printf("%s%s%s %s %s", pretty, *pretty ? ", " : "", name.sysname, name.release,
                                              name.machine);
    g_free(pretty);
    return os;
}

/* Of the processor: the greatest clock where the kernel tells, else the one it runs at. */
static char *processor_clocks(void) {
    char *text = first_line("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    const gint64 khz = g_ascii_strtoll(text, NULL, 10);
    g_free(text);
    if (khz > 0) return g_strdup_printf("%d MHz", (int)(khz / 1000));
    text = line_value("/proc/cpuinfo", "cpu MHz");
    const double mhz = g_ascii_strtod(text, NULL);
    g_free(text);
    return mhz > 0 && mhz < 1e6 ? g_strdup_printf("%.0f MHz", mhz) : g_strdup("");
}

/* The GPU's; on the processor why there is none, where this build could use one. */
static char *driver(bool host) {
    const eab_backend *cuda = eab_backend_from_name("cuda");
    if (!host) return line_value("/proc/driver/nvidia/version", "NVRM version");
    const char *absent = cuda && cuda->absent ? cuda->absent() : NULL;
    return absent ? g_strdup_printf("none: %s", absent) : g_strdup("");
}

static char *libraries(void) {
    return g_strdup_printf("glibc %s, glib %u.%u.%u", gnu_get_libc_version(), glib_major_version, glib_minor_version,
                           glib_micro_version);
}

void eab_environment_collect(const eab_run_settings *settings, eab_environment *environment) {
    char now[32];
    const bool host = strcmp(settings->backend, "cuda") != 0;
    eab_time_print(time(NULL), now, sizeof now);
    *environment = (eab_environment){
        .version = g_strdup(EAB_BUILD_VERSION),
        .commit = g_strdup(EAB_BUILD_COMMIT),
        .compiler = g_strdup(EAB_BUILD_COMPILER),
        .flags = eab_line_clean(EAB_BUILD_FLAGS),
        .os = operating_system(),
        .cpu = line_value("/proc/cpuinfo", "model name"),
        .cores = g_strdup_printf("%d", eab_system_cores()),
        .isa = eab_line_clean(settings->isa ? settings->isa : ""),
        .backend = g_strdup(settings->backend),
        .device = eab_line_clean(settings->device ? settings->device : ""),
        .driver = driver(host),
        .clocks = host ? processor_clocks() : g_strdup(""),
        .libraries = libraries(),
        .ranks = g_strdup_printf("%d", MAX(1, settings->ranks)),
        .workers = g_strdup_printf("%d", settings->workers),
        .fleet = settings->fleet > 0 ? g_strdup_printf("%d", settings->fleet) : g_strdup("auto"),
        .started = g_strdup(now),
        .command = eab_line_clean(settings->command ? settings->command : ""),
        .peak_gflop_per_s = g_strdup(""),
    };
}

void eab_environment_free(eab_environment *environment) {
#define EAB_ENVIRONMENT_FREE(name) g_clear_pointer(&environment->name, g_free);
    EAB_ENVIRONMENT_LIST(EAB_ENVIRONMENT_FREE)
#undef EAB_ENVIRONMENT_FREE
}
