/* Files of models: larger than 4 GiB, with a padded vocabulary, and errors. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "default_config.h"
#include "host/model/safetensors.h"
#include "host/model/train.h"
#include "host/spec/cell_task.h"
#include "sweep_fixture.h"

/* While `counting`, replaces write(2) of the C library: counts all bytes, and writes only headers (below 64 KiB). As
 * Linux it takes at most MOST_AT_ONCE bytes in a call. */
enum { MOST_AT_ONCE = 0x7ffff000, HEADER_BYTES = 1 << 16 };
static bool counting;
static int64_t counted;
static int full_after = -1; /* calls until the disk is full; -1: never */

ssize_t write(int fd, const void *bytes, size_t size) {
    if (!counting) return syscall(SYS_write, fd, bytes, size);
    if (full_after == 0) {
        errno = ENOSPC;
        return -1;
    }
    if (full_after > 0) full_after--;
    const size_t part = MIN(size, MOST_AT_ONCE);
    counted += (int64_t)part;
    return size < HEADER_BYTES ? syscall(SYS_write, fd, bytes, size) : (ssize_t)part;
}

/* The bytes that a header, at the file's begin, and the tensors it describes have together. */
static int64_t described_bytes(const char *header) {
    uint64_t length;
    memcpy(&length, header, sizeof length);
    char *json = g_strndup(header + sizeof length, length);
    int64_t end = 0;
    for (const char *at = json; (at = strstr(at, "\"data_offsets\":[")); at++) {
        const char *numbers = at + strlen("\"data_offsets\":[");
        char *comma;
        cr_expect_eq(g_ascii_strtoll(numbers, &comma, 10), end); /* each tensor follows the one before */
        end = g_ascii_strtoll(comma + 1, NULL, 10);
    }
    g_free(json);
    return (int64_t)(sizeof length + length) + end;
}

Test(safetensors, tensors_beyond_4_gib) {
    const int64_t most = INT64_C(3) << 30;
    void *zeros = mmap(NULL, (size_t)most, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(zeros, MAP_FAILED);
    const eab_safetensor tensors[] = {{"a", "F32", 2, {3 << 10, 1 << 18}, zeros},
                                      {"b", "F64", 3, {3, 1 << 17, 1 << 10}, zeros},
                                      {"c", "I32", 1, {5}, zeros}};
    const eab_config config = default_config(0);
    char *folder = fixture_folder(), *path = g_build_filename(folder, "big.safetensors", NULL);
    counting = true;
    const int status = eab_safetensors_write(path, &config, tensors, 3);
    counting = false;
    cr_assert_eq(status, EAB_OK, "%s", eab_last_error());
    GString *file = fixture_read(folder, "big.safetensors");
    cr_expect_not_null(strstr(file->str + 8, "\"data_offsets\":[0,3221225472]"));
    cr_expect_not_null(strstr(file->str + 8, "\"data_offsets\":[3221225472,6442450944]"));
    cr_expect_not_null(strstr(file->str + 8, "\"data_offsets\":[6442450944,6442450964]"));
    cr_expect_eq(described_bytes(file->str), counted);
    g_string_free(file, TRUE);
    munmap(zeros, (size_t)most);
    g_free(path);
    fixture_remove(folder);
}

/* A device of 8-byte reals on the host. */
static int read_doubles(eab_device *device, double *host, const void *from, int64_t count) {
    (void)device;
    memcpy(host, from, (size_t)count * sizeof *host);
    return EAB_OK;
}

/* A device that reads nothing: `host` keeps what it has, so that a large model needs no memory. */
static int read_nothing(eab_device *device, double *host, const void *from, int64_t count) {
    (void)device;
    (void)host;
    (void)from;
    cr_expect_leq(count, 16 << 20, "a tensor at a time");
    return EAB_OK;
}

Test(safetensors, a_model_beyond_4_gib, .timeout = 120) {
    const eab_backend backend = {.real_bytes = sizeof(double), .read_reals = read_nothing};
    eab_device device = {.backend = &backend};
    eab_config config = default_config(0);
    config.layers = 15;
    config.d_model = 1024;
    config.mlp_ratio = 16;
    eab_parameters parameters;
    cr_assert_eq(eab_parameters_layout(&config, eab_config_vocab(&config), &parameters), EAB_OK);
    cr_assert_gt(parameters.count * (int64_t)sizeof(double), INT64_C(1) << 32);
    char *folder = fixture_folder(), *path = g_build_filename(folder, "big.safetensors", NULL);
    counting = true;
    const int status = eab_safetensors_write_model(path, &config, &parameters, "F64", &device, NULL);
    counting = false;
    cr_assert_eq(status, EAB_OK, "%s", eab_last_error());
    GString *file = fixture_read(folder, "big.safetensors");
    uint64_t header;
    memcpy(&header, file->str, sizeof header);
    cr_expect_eq(described_bytes(file->str), counted);
    cr_expect_eq(counted, 8 + (int64_t)header + parameters.count * (int64_t)sizeof(double));
    g_string_free(file, TRUE);
    eab_parameters_free(&parameters);
    g_free(path);
    fixture_remove(folder);
}

/* The vocabulary of a fleet is wider than the member's: rows of embeddings and columns of the head are cut. */
Test(safetensors, a_padded_vocabulary) {
    const eab_backend backend = {.real_bytes = sizeof(double), .read_reals = read_doubles};
    eab_device device = {.backend = &backend};
    eab_config config = default_config(0);
    eab_parameters parameters;
    const int32_t vocab = eab_config_vocab(&config), padded = vocab + 3;
    cr_assert_eq(eab_parameters_layout(&config, padded, &parameters), EAB_OK);
    double *values = g_new(double, parameters.count);
    for (int64_t i = 0; i < parameters.count; i++) values[i] = (double)i + 0.1;
    char *folder = fixture_folder(), *path = g_build_filename(folder, "model.safetensors", NULL);
    for (int wide = 0; wide < 2; wide++) {
        const size_t word = wide ? sizeof(double) : sizeof(float);
        cr_assert_eq(eab_safetensors_write_model(path, &config, &parameters, wide ? "F64" : "F32", &device, values),
                     EAB_OK);
        GString *file = fixture_read(folder, "model.safetensors");
        cr_assert_eq(described_bytes(file->str), (int64_t)file->len);
        uint64_t header;
        memcpy(&header, file->str, sizeof header);
        const char *at = file->str + sizeof header + header;
        for (int32_t i = 0; i < parameters.length; i++) {
            const eab_parameter *parameter = &parameters.list[i];
            for (int32_t row = 0; row < parameter->rows; row++)
                for (int32_t column = 0; column < parameter->columns; column++) {
                    if ((parameter->vocab_rows && row >= vocab) || (parameter->vocab_columns && column >= vocab))
                        continue;
                    const double exact = values[parameter->offset + (int64_t)row * parameter->columns + column];
                    const float rounded = (float)exact;
                    cr_assert_eq(memcmp(at, wide ? (const void *)&exact : (const void *)&rounded, word), 0,
                                 "%s [%d][%d]", parameter->name, row, column);
                    at += word;
                }
        }
        cr_expect_eq(at, file->str + file->len);
        g_string_free(file, TRUE);
    }
    g_free(values);
    eab_parameters_free(&parameters);
    g_free(path);
    fixture_remove(folder);
}

/* ---- errors: the cell's, not the fleet's ------------------------------------------------------------------------- */

static int count_files(const char *folder) {
    GDir *entries = g_dir_open(folder, 0, NULL);
    int count = 0;
    while (g_dir_read_name(entries)) count++;
    g_dir_close(entries);
    return count;
}

Test(safetensors, a_model_that_cannot_be_saved_costs_its_cell) {
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    eab_config configs[3];
    char *folder = fixture_folder(), *paths[3];
    for (int i = 0; i < 3; i++) {
        configs[i] = default_config(0);
        configs[i].steps = 4;
        configs[i].seed = i + 1;
        configs[i].eval_tokens = 100;
        paths[i] = g_strdup_printf("%s/%s%d.safetensors", folder, i == 1 ? "missing/" : "", i);
    }
    const eab_train_options options = {.keep_curves = true, .model_paths = (const char *const *)paths};
    eab_cell_result results[3];
    cr_assert_eq(eab_train_fleet(device, 3, configs, &options, results), EAB_OK, "%s", eab_last_error());
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(results[i].status, i == 1 ? EAB_CELL_FAIL : EAB_CELL_OK);
        cr_expect_eq(results[i].steps_done, i == 1 ? -1 : 4);
        if (i == 1) cr_expect_not_null(strstr(results[i].reason, "1.safetensors: cannot be written: No such file"));
        eab_cell_result_free(&results[i]);
        g_free(paths[i]);
    }
    cr_expect_eq(count_files(folder), 2);
    eab_device_close(device);
    fixture_remove(folder);
}

/* The disk is full at each write: an error with the file's name; the old file stays, and no other file is left. */
Test(safetensors, a_full_disk) {
    const eab_config config = default_config(0);
    const float words[4] = {1, 2, 3, 4};
    const eab_safetensor tensors[] = {{"a", "F32", 1, {4}, words}, {"b", "F32", 2, {2, 2}, words}};
    char *folder = fixture_folder(), *path = g_build_filename(folder, "model.safetensors", NULL);
    for (int calls = 0; calls < 3; calls++) {
        fixture_write(folder, "model.safetensors", "old", 3);
        full_after = calls;
        counting = true;
        const int status = eab_safetensors_write(path, &config, tensors, 2);
        counting = false;
        cr_expect_eq(status, EAB_IO);
        cr_expect_not_null(strstr(eab_last_error(), "model.safetensors: cannot be written: No space left on device"));
        GString *file = fixture_read(folder, "model.safetensors");
        cr_expect_str_eq(file->str, "old");
        g_string_free(file, TRUE);
        cr_expect_eq(count_files(folder), 1);
    }
    g_free(path);
    fixture_remove(folder);
}
