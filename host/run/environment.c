#include "environment.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/suggest.h"
#include "base/system.h"
#include "build_info.h" /* written by build_info.cmake at build time */
#include "kernels/backend.h"

const char *const eab_environment_keys[EAB_ENVIRONMENT_KEYS] = {
    "version", "commit", "compiler",  "flags", "os",      "cpu",   "cores",   "isa",     "backend",         "device",
    "driver",  "clocks", "libraries", "ranks", "workers", "fleet", "started", "command", "peak_gflop_per_s"};

/* The GPU's driver; on the processor the reason why there is no GPU, if this build could use one. */
static char *driver(bool host) {
    const eab_backend *cuda = eab_backend_from_name("cuda");
    if (!host) return eab_system_gpu_driver();
    const char *absent = cuda && cuda->absent ? cuda->absent() : NULL;
    return absent ? g_strdup_printf("none: %s", absent) : NULL;
}

static char *libraries(void) {
    char *c_library = eab_system_c_library();
    char *text =
        g_strdup_printf("%s, glib %u.%u.%u", c_library, glib_major_version, glib_minor_version, glib_micro_version);
    g_free(c_library);
    return text;
}

/* Takes `value`. */
static void set_own(eab_environment *environment, const char *key, char *value) {
    eab_environment_set(environment, key, value);
    g_free(value);
}

void eab_environment_collect(const eab_run_settings *settings, eab_environment *environment) {
    char now[32];
    const bool host = strcmp(settings->backend, "cuda") != 0;
    eab_time_print(time(NULL), now, sizeof now);
    *environment = (eab_environment){.value = {NULL}};
    eab_environment_set(environment, "version", EAB_BUILD_VERSION);
    eab_environment_set(environment, "commit", EAB_BUILD_COMMIT);
    eab_environment_set(environment, "compiler", EAB_BUILD_COMPILER);
    eab_environment_set(environment, "flags", EAB_BUILD_FLAGS);
    set_own(environment, "os", eab_system_os());
    set_own(environment, "cpu", eab_system_processor());
    set_own(environment, "cores", g_strdup_printf("%d", eab_system_cores()));
    eab_environment_set(environment, "isa", settings->isa);
    eab_environment_set(environment, "backend", settings->backend);
    eab_environment_set(environment, "device", settings->device);
    set_own(environment, "driver", driver(host));
    if (host) set_own(environment, "clocks", eab_system_processor_clock());
    set_own(environment, "libraries", libraries());
    set_own(environment, "ranks", g_strdup_printf("%d", MAX(1, settings->ranks)));
    set_own(environment, "workers", g_strdup_printf("%d", settings->workers));
    set_own(environment, "fleet", settings->fleet ? g_strdup_printf("%d", settings->fleet) : g_strdup("auto"));
    eab_environment_set(environment, "started", now);
    eab_environment_set(environment, "command", settings->command);
}

void eab_environment_free(eab_environment *environment) {
    for (int i = 0; i < EAB_ENVIRONMENT_KEYS; i++) g_clear_pointer(&environment->value[i], g_free);
}

static int find_key(const char *key) {
    int found = 0;
    while (found < EAB_ENVIRONMENT_KEYS && strcmp(eab_environment_keys[found], key) != 0) found++;
    return found;
}

const char *eab_environment_get(const eab_environment *environment, const char *key) {
    const int found = find_key(key);
    return found < EAB_ENVIRONMENT_KEYS && environment->value[found] ? environment->value[found] : "";
}

void eab_environment_set(eab_environment *environment, const char *key, const char *value) {
    const int found = find_key(key);
    if (found == EAB_ENVIRONMENT_KEYS) return;
    char *line = eab_line_clean(value ? value : "");
    g_free(environment->value[found]);
    environment->value[found] = line;
}

void eab_environment_set_peak(eab_environment *environment, double gflop_per_s) {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    eab_environment_set(environment, "peak_gflop_per_s", g_ascii_formatd(text, sizeof text, "%.6g", gflop_per_s));
}

char *eab_environment_differences(const eab_environment *a, const eab_environment *b, const char *label) {
    static const char *const keys[] = {"version", "commit", "backend", "isa"};
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *left = eab_environment_get(a, keys[i]), *right = eab_environment_get(b, keys[i]);
        char shown[80], other[80];
        if (strcmp(left, right) != 0)
            g_string_append_printf(text, "%s%s '%s' (%s '%s')", text->len ? ", " : "", keys[i],
                                   eab_excerpt(left, 60, shown, sizeof shown), label,
                                   eab_excerpt(right, 60, other, sizeof other));
    }
    return g_string_free(text, FALSE);
}
