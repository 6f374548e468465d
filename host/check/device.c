#include "device.h"

#include <glib.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/system.h"
#include "base/version.h"
#include "kernels/backend.h"
#include "suite.h"

/* A file whose name is a hash of the program, the host, the device and its driver; NULL if these are unknown. g_free */
static char *passed_file(eab_device *device) {
    struct stat program;
    char description[256];
    if (stat(EAB_SYSTEM_PROGRAM, &program)) return NULL;
    device->backend->describe(device, description, sizeof description);
    char *driver = eab_system_gpu_driver();
    char *text = g_strdup_printf("%s %s %lld bytes of %lld.%09ld on %s %s %d: %s; driver %s", eab_build_version(),
                                 eab_build_commit(), (long long)program.st_size, (long long)program.st_mtim.tv_sec,
                                 program.st_mtim.tv_nsec, g_get_host_name(), device->backend->name, device->index,
                                 description, driver ? driver : "unknown");
    char *name = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    char *path = g_build_filename(g_get_user_cache_dir(), "eabench", "checked", name, NULL);
    g_free(name);
    g_free(text);
    g_free(driver);
    return path;
}

bool eab_device_check_is_due(const char *backend, int index) {
    eab_device *device;
    if (!eab_backend_from_name(backend)->capacity || eab_device_open(backend, index, &device)) return false;
    char *path = passed_file(device);
    const bool due = !path || !g_file_test(path, G_FILE_TEST_EXISTS);
    g_free(path);
    eab_device_close(device);
    return due;
}

/* Keeps the first operation that failed. */
static void note_miss(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                      const eab_check_result *result) {
    char **first = context;
    (void)shape;
    if (!result->passed && !*first) *first = g_strdup_printf("%s: %s", operation->name, result->reason);
}

/* Errors are ignored: the check then runs again at the next start. */
static void keep_passed(eab_device *device) {
    char *path = passed_file(device), *folder = path ? g_path_get_dirname(path) : NULL;
    if (path && !g_mkdir_with_parents(folder, 0777)) g_file_set_contents(path, "", 0, NULL);
    g_free(folder);
    g_free(path);
}

int eab_device_check(const char *backend, int index) {
    eab_device *device;
    char *first = NULL;
    int missed = 0;
    EAB_TRY(eab_device_open(backend, index, &device));
    int status = eab_check_some(&device, note_miss, &first, &missed);
    if (!status && !missed) keep_passed(device);
    eab_device_close(device);
    if (status || missed)
        status = eab_fail(EAB_NO_DEVICE,
                          "device %d does not compute what this build expects (%s); allowed: another device, --backend "
                          "cpu, or --no-check; `eabench check --backend %s --failures` shows more",
                          index, first ? first : eab_last_error(), backend);
    g_free(first);
    return status;
}
