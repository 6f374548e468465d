#define _GNU_SOURCE /* nftw */
#include "sweep_fixture.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/model/geometry.h"
#include "host/run/tables.h"

const char *const fixture_small_spec = "[task recurrence]\nbasis = 2, 4\n[model]\nd_model = 8\nheads = 2\n"
                                       "[train]\nmechanism = dpa, ea\nsteps = 40\n";

const eab_run_settings fixture_settings = {.backend = "cpu",
                                           .device = "A processor, \"quoted\"",
                                           .isa = "base",
                                           .workers = 2,
                                           .fleet = 1,
                                           .command = "eabench sweep small.ini",
                                           .save_curves = true,
                                           .save_geometry = true};

char *fixture_folder(void) {
    /* In memory if possible: thousands of syncs take minutes on a busy disk. */
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir();
    char *folder = g_build_filename(parent, "eabench-test-XXXXXX", NULL);
    cr_assert_not_null(g_mkdtemp(folder));
    return folder;
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts;
    (void)kind;
    (void)place;
    return remove(path);
}

void fixture_remove(char *folder) {
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    g_free(folder);
}

eab_plan fixture_plan(const char *text) {
    char *folder = fixture_folder(), *path = g_build_filename(folder, "small.ini", NULL);
    eab_plan plan;
    fixture_write(folder, "small.ini", text, strlen(text));
    cr_assert_eq(eab_plan_load(path, NULL, &plan), EAB_OK, "%s", eab_last_error());
    g_free(path);
    fixture_remove(folder);
    return plan;
}

eab_cell_result fixture_result(const eab_cell *cell) {
    const unsigned number =
        (unsigned)strtoul((char[]){cell->id[0], cell->id[1], cell->id[2], cell->id[3], 0}, NULL, 16);
    const double share = number / 65536.0;
    const bool diverged = number % 4 == 0;
    eab_cell_result result = {
        .status = diverged ? EAB_CELL_DIVERGED : EAB_CELL_OK,
        .parameters = 1000 + number,
        .tokens = INT64_C(40) * 32 * 24,
        .steps_done = 40,
        .scores.loss_nats = diverged ? NAN : share * 3,
        .scores.validation_accuracy = diverged ? NAN : share,
        .scores.token_accuracy = diverged ? NAN : share,
        .scores.sequence_accuracy = diverged ? NAN : share / 2,
        .scores.rollout_accuracy = diverged ? NAN : share / 3,
        .scores.seen_share = 0,
        .scores.solved = diverged ? -1 : 0,
        .scores.steps_to_solve = -1,
        .train_s = 0.5 + share,
        .wall_s = 1 + share,
        .flop_per_token = 5e4,
        .fleet = 1,
        .fleet_tokens = INT64_C(40) * 32 * 24,
        .memory_bytes = 12345,
        .curve = malloc(3 * sizeof(eab_curve_point)),
        .curve_points = 3,
    };
    if (diverged) snprintf(result.reason, sizeof result.reason, "the loss, \"nan\", was\nnot finite");
    for (int i = 0; i < 3; i++)
        result.curve[i] = (eab_curve_point){INT64_C(10) * (i + 1), 2.0 / (i + 1), share * i / 3};
    if (diverged) return result;
    result.geometry = calloc(1, sizeof *result.geometry + sizeof result.geometry->head[0]);
    cr_assert_not_null(result.geometry);
    *result.geometry = (eab_geometry){.layers = 1, .heads = 1};
    result.geometry->head[0] = (eab_geometry_head){.row_entropy_nats = share, .determining_mass = NAN};
    result.geometry->head[0].angle_mass[9] = 1;
    return result;
}

void fixture_free(eab_cell_result *result) {
    free(result->curve);
    free(result->geometry);
}

int fixture_append(eab_run_folder *folder, const eab_plan *plan, int64_t index, const eab_cell_result *result) {
    const eab_cell_end end = {.index = index,
                              .status = result->status,
                              .solved = result->scores.solved,
                              .token_accuracy = result->scores.token_accuracy};
    char *rows[EAB_TABLE_COUNT];
    eab_cell_rows(&fixture_settings, &plan->cells[index], result, rows);
    const int status = eab_run_folder_append(folder, &end, (const char *const *)rows);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) g_free(rows[table]);
    return status;
}

int fixture_append_missing(eab_run_folder *folder, const eab_plan *plan) {
    for (int64_t i = plan->count - 1; i >= 0; i--) { /* not in the plan's order */
        if (eab_run_folder_has(folder, i)) continue;
        eab_cell_result result = fixture_result(&plan->cells[i]);
        const int status = fixture_append(folder, plan, i, &result);
        fixture_free(&result);
        if (status) return status;
    }
    return eab_run_folder_sync(folder);
}

GString *fixture_read(const char *folder, const char *name) {
    char *path = g_build_filename(folder, name, NULL), *bytes = NULL;
    gsize size;
    GString *text = NULL;
    if (g_file_get_contents(path, &bytes, &size, NULL)) text = g_string_new_len(bytes, (gssize)size);
    g_free(bytes);
    g_free(path);
    return text;
}

void fixture_write(const char *folder, const char *name, const char *bytes, size_t size) {
    char *path = g_build_filename(folder, name, NULL);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
    g_free(path);
}
