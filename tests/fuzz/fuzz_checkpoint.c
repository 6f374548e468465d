/* The reader of checkpoints. The target writes a checkpoint of two tiny cells, and the input edits it: the first two
 * bytes, if not 0, are the length to cut it to; then come edits, each of a position (two bytes), a count (one byte) and
 * the new bytes. The checksum stays that of the unedited file, so an edited file must be refused with one line, and
 * training must start anew. eab_checkpoint_cells, which does not check the sum, must return ids or one line. */
#include <glib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../host/model/checkpoint.h"
#include "../../host/model/train.h"
#include "../../host/spec/options.h"
#include "../host/default_config.h"
#include "fuzz.h"

enum { CELLS = 2, MAX_BYTES = 1 << 16 };

static eab_device *device;
static eab_config configs[CELLS];
static char folder[] = "/dev/shm/eabench-fuzz-XXXXXX", path[64];
static uint8_t whole[MAX_BYTES], edited[MAX_BYTES];
static size_t whole_size;
static int notes;

static void remove_folder(void) {
    unlink(path);
    rmdir(folder);
}

static void note(void *context, const char *line) {
    (void)context;
    fuzz_expect_line(line);
    notes++;
}

/* Trains to the end; with `stop` only reads the file. */
static int train(bool stop) {
    const atomic_bool stopping = stop;
    const eab_train_checkpoint checkpoint = {.path = path, .every_s = stop ? 1e9 : 0, .report = note, .context = NULL};
    const eab_train_options options = {.stop = &stopping, .keep_curves = true, .checkpoint = &checkpoint};
    eab_cell_result results[CELLS];
    const int status = eab_train_fleet(device, CELLS, configs, &options, results);
    for (int i = 0; i < CELLS && !status; i++) eab_cell_result_free(&results[i]);
    return status;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    fuzz_expect(eab_device_open("cpu", 0, &device) == 0, "a processor");
    for (int i = 0; i < CELLS; i++) {
        configs[i] = default_config(0);
        configs[i].d_model = configs[i].context = 4;
        configs[i].heads = 1;
        configs[i].mlp_ratio = 0;
        configs[i].level.option[0] = 2; /* basis */
        configs[i].level.option[1] = 1; /* delay */
        configs[i].batch = 1;
        configs[i].steps = 5;
        configs[i].eval_every = 2;
        configs[i].eval_tokens = 1;
        configs[i].seed = i;
    }
    fuzz_expect(mkdtemp(folder) != NULL, "a folder in memory");
    snprintf(path, sizeof path, "%s/a.ckpt", folder);
    atexit(remove_folder);
    fuzz_expect(train(false) == 0, "cells that train");
    FILE *file = fopen(path, "rb");
    fuzz_expect(file != NULL, "a checkpoint");
    whole_size = fread(whole, 1, sizeof whole, file);
    fclose(file);
    notes = 0;
    fuzz_expect(train(true) != 0 && notes == 0, "an unedited checkpoint that is used");
    return 0;
}

static size_t edit(const uint8_t *data, size_t size) {
    size_t length = whole_size;
    memcpy(edited, whole, whole_size);
    if (size >= 2) {
        const size_t cut = data[0] | (size_t)data[1] << 8;
        if (cut && cut < length) length = cut;
    }
    for (size_t at = 2; at + 3 < size;) {
        const size_t place = (data[at] | (size_t)data[at + 1] << 8) % whole_size, count = data[at + 2];
        at += 3;
        for (size_t i = 0; i < count && at < size && place + i < whole_size; i++) edited[place + i] = data[at++];
    }
    return length;
}

static void read_ids(void) {
    char **ids;
    const int status = eab_checkpoint_cells(path, &ids, NULL);
    if (status) fuzz_expect_line(eab_last_error());
    fuzz_expect(status ? !ids : ids && ids[0], "ids or an error");
    g_strfreev(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t length = edit(data, size);
    const bool differs = length != whole_size || memcmp(edited, whole, whole_size) != 0;
    FILE *file = fopen(path, "wb");
    fuzz_expect(file && fwrite(edited, 1, length, file) == length, "a file");
    fclose(file);
    read_ids();
    notes = 0;
    const int status = train(true);
    fuzz_expect(status == EAB_INTERRUPTED, "training that stops");
    fuzz_expect(notes == differs, "one line on a checkpoint that is refused");
    return 0;
}
