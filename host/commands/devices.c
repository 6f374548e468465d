#include <glib.h>
#include <stdio.h>

#include "arguments.h"
#include "base/log.h"
#include "bench/peak.h"

static void print_device(const eab_backend *backend, int index) {
    eab_device *device;
    if (eab_device_open_backend(backend, index, &device)) {
        printf("%-10s %-5d %s\n", backend->name, index, eab_last_error());
        return;
    }
    char description[256];
    backend->describe(device, description, sizeof description);
    static const struct {
        int32_t dtype;
        const char *name;
    } dtypes[] = {{EAB_F32, "float32"}, {EAB_BF16, "bf16"}, {EAB_F16, "fp16"}};
    printf("%-10s %-5d %-8s ", backend->name, index, backend->dtype);
    const double gflop_per_s = eab_peak_gflop_per_s(device, EAB_F32);
    if (gflop_per_s > 0) printf("%10.1f %8.1f  ", gflop_per_s, eab_peak_gbyte_per_s(device));
    else printf("%10s %8s  ", "-", "-");
    printf("%s\n", description);
    for (size_t i = 1; i < sizeof dtypes / sizeof *dtypes; i++) {
        const double peak = eab_peak_gflop_per_s(device, dtypes[i].dtype);
        if (peak > 0) printf("%-10s %-5d %-8s %10.1f\n", backend->name, index, dtypes[i].name, peak);
    }
    eab_device_close(device);
}

int eab_command_devices(int argc, char **argv) {
    char **rest = NULL;
    const GOptionEntry entries[] = {{G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, NULL}, {0}};
    const int code = eab_command_parse(
        "devices", "- backends, their devices and measured peaks",
        "gflop/s: on cpu one core's multiply-adds in registers, on a GPU the best cuBLAS product of the dtype.\n"
        "gbyte/s: the better of a copy and y += x past the caches, read plus written. Each is measured for about "
        "half a second.",
        entries, argc, argv);
    const bool has_arguments = rest != NULL;
    g_strfreev(rest);
    if (code >= 0) return code;
    if (has_arguments) {
        eab_log_error("devices", "takes no arguments");
        return EAB_EXIT_BAD_INPUT;
    }
    printf("%-10s %-5s %-8s %10s %8s  %s\n", "backend", "index", "dtype", "gflop/s", "gbyte/s", "device");
    const eab_backend *backend;
    for (int i = 0; (backend = eab_backend_at(i)); i++) {
        if (backend->not_built) {
            printf("%-10s %-5s %s\n", backend->name, "-", backend->not_built);
            continue;
        }
        const int count = backend->count();
        if (count == 0 && backend->absent) printf("%-10s %-5s %s\n", backend->name, "-", backend->absent());
        for (int index = 0; index < count; index++) print_device(backend, index);
    }
    return EAB_EXIT_DONE;
}
