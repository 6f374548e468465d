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

typedef struct {
    char *first; /* operation and reason of the first failure; NULL: none */
    bool wrong;  /* an operation ran and computed wrong numbers */
} check_failures;

static void note_failure(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                         const eab_check_result *result) {
    check_failures *failures = context;
    (void)shape;
    if (result->passed) return;
    failures->wrong = failures->wrong || result->ran;
    if (!failures->first) failures->first = g_strdup_printf("%s: %s", operation->name, result->reason);
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
    check_failures failures = {NULL, false};
    int missed = 0;
    EAB_TRY(eab_device_open(backend, index, &device));
    int status = eab_check_some(&device, note_failure, &failures, &missed);
    if (!status && !missed) keep_passed(device);
    eab_device_close(device);
    if (status) status = eab_fail_prefix(status, "device %d cannot be checked: ", index);
    else if (failures.wrong)
        status = eab_fail(EAB_NO_DEVICE,
                          "device %d does not compute what this build expects (%s); allowed: another device, --backend "
                          "cpu, or --no-check; `eabench check --backend %s --failures` shows more",
                          index, failures.first, backend);
    else if (missed)
        status = eab_fail(EAB_DEVICE_FAULT, "device %d cannot be checked (%s); allowed: a free device, or --no-check",
                          index, failures.first);
    g_free(failures.first);
    return status;
}
