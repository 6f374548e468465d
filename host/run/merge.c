/* All shards are read first, so that a mistake in any of them changes nothing. Then the rows of each shard are appended
 * to the merged run, accuracy.csv last: its rows commit. An interrupted merge leaves rows without a commit, which the
 * next one removes and adds again. */
#include "merge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "folder_state.h"
#include "kernels/status.h"
#include "manifest.h"
#include "plan/shard.h"

enum { APPEND_BYTES = 1 << 24 }; /* appended at once, about */

typedef struct {
    const char *run, *out, *command;
    eab_plan plan;                   /* of all shards together */
    GArray *shards;                  /* eab_shard, by part: those that have folders */
    int32_t parts;                   /* that the sweep was split into */
    int32_t *owner;                  /* [plan.count]: the part whose tables have the cell; 0: none */
    bool has_table[EAB_TABLE_COUNT]; /* in some shard */
    eab_environment *environment;    /* of the first shard */
    char *difference;                /* between two shards' environments; NULL: none */
} merge;

static eab_shard shard_at(const merge *self, guint i) { return g_array_index(self->shards, eab_shard, i); }

/* ---- reading ------------------------------------------------------------------------------------------------- */

static int list_shards(merge *self) {
    EAB_TRY(eab_shard_list(self->run, &self->shards));
    if (!self->shards->len)
        return eab_fail(EAB_BAD_INPUT,
                        "%s: no shards/I-of-N in it; a folder that eabench sweep --shard has filled is allowed",
                        self->run);
    self->parts = shard_at(self, 0).parts;
    const int32_t last = shard_at(self, self->shards->len - 1).parts;
    if (self->parts == last) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s/shards: shards of %d and of %d; those of one split are allowed", self->run,
                    self->parts, last);
}

/* By the cells: their ids do not depend on where a text file lies. */
static bool has_same_cells(const eab_plan *a, const eab_plan *b) {
    for (int64_t i = 0; i < a->count && a->count == b->count; i++)
        if (strcmp(a->cells[i].id, b->cells[i].id) != 0) return false;
    return a->count == b->count;
}

/* The first shard's spec is the run's; the others' must have the same cells. */
static int check_spec(merge *self, const char *manifest) {
    eab_plan plan;
    EAB_TRY(eab_plan_load_manifest(manifest, &plan));
    if (!self->plan.resolved) {
        self->plan = plan;
        return EAB_OK;
    }
    const bool same = has_same_cells(&plan, &self->plan);
    eab_plan_free(&plan);
    if (same) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s is of another spec than shard %d's; shards of one spec are allowed", manifest,
                    shard_at(self, 0).part);
}

/* Takes ownership of `environment`. The first shard's is the run's. */
static void check_environment(merge *self, eab_environment *environment, int32_t part) {
    const int32_t first = shard_at(self, 0).part;
    if (part == first) {
        self->environment = environment;
        return;
    }
    char label[32];
    g_snprintf(label, sizeof label, "shard %d:", first);
    char *differences = eab_environment_differences(environment, self->environment, label);
    if (*differences && !self->difference)
        self->difference = g_strdup_printf("shard %d was done with %s", part, differences);
    g_free(differences);
    eab_environment_free(environment);
}

static int read_manifest(merge *self, const char *folder, int32_t part) {
    eab_environment *environment;
    char *path = g_build_filename(folder, "manifest.ini", NULL);
    int status = eab_manifest_read(folder, &environment);
    if (!status && !environment)
        status = eab_fail(EAB_BAD_INPUT, "%s: it is missing; a shard that eabench sweep has begun is allowed", path);
    if (!status) status = check_spec(self, path);
    g_free(path);
    if (environment) check_environment(self, environment, part);
    return status;
}

/* Notes which cells and tables the shard has. */
static int claim_cells(merge *self, const eab_run_folder *shard, int32_t part) {
    if (!self->owner) self->owner = g_new0(int32_t, (gsize)self->plan.count);
    for (int table = 0; table < EAB_TABLE_COUNT; table++)
        self->has_table[table] = self->has_table[table] || shard->facts[table].exists;
    for (int64_t i = 0; i < self->plan.count; i++) {
        if (shard->cells[i].status == EAB_CELL_NONE) continue;
        if (self->owner[i])
            return eab_fail(EAB_BAD_INPUT, "%s: cell %s is in shard %d, too; remove it from one of the two",
                            shard->path, self->plan.cells[i].id, self->owner[i]);
        self->owner[i] = part;
    }
    return EAB_OK;
}

static int read_shard(merge *self, const char *folder, int32_t part) {
    eab_run_folder *shard;
    EAB_TRY(read_manifest(self, folder, part));
    EAB_TRY(eab_run_folder_peek(folder, &self->plan, &shard));
    const int status = claim_cells(self, shard, part);
    eab_run_folder_close(shard);
    return status;
}

static int read_all(merge *self) {
    int status = list_shards(self);
    for (guint i = 0; i < self->shards->len && !status; i++) {
        char *folder = eab_shard_folder(self->run, shard_at(self, i));
        status = read_shard(self, folder, shard_at(self, i).part);
        g_free(folder);
    }
    return status;
}

/* ---- adding -------------------------------------------------------------------------------------------------- */

/* A model or an attention map, if the shard has it and OUT does not. */
static int bring_file(const char *from, const char *to, const char *kind, const eab_cell *cell) {
    char *old = eab_run_cell_file(from, kind, cell), *new = eab_run_cell_file(to, kind, cell);
    const bool wanted = access(old, F_OK) == 0 && access(new, F_OK) != 0;
    char *folder = g_path_get_dirname(new);
    int status = wanted ? eab_folder_make(folder) : EAB_OK;
    if (wanted && !status) status = eab_file_link(old, new);
    g_free(folder);
    g_free(new);
    g_free(old);
    return status;
}

/* Whether the cell is to be added from this shard. */
static bool is_added(const eab_run_folder *shard, eab_run_folder *out, int64_t index) {
    return shard->cells[index].status != EAB_CELL_NONE && !eab_run_folder_has(out, index);
}

static int bring_files(const merge *self, const eab_run_folder *shard, eab_run_folder *out) {
    for (int64_t i = 0; i < self->plan.count; i++) {
        if (!is_added(shard, out, i)) continue;
        if (eab_interrupt_count() > 0) return eab_fail(EAB_INTERRUPTED, "interrupted");
        EAB_TRY(bring_file(shard->path, self->out, "models", &self->plan.cells[i]));
        EAB_TRY(bring_file(shard->path, self->out, "geometry", &self->plan.cells[i]));
    }
    return EAB_OK;
}

/* Appends the rows of the added cells, in any order: closing the folder sorts them. */
static int append_rows(const eab_run_folder *shard, eab_table table, eab_run_folder *out) {
    const GArray *rows = shard->rows[table];
    GString *text = g_string_new(NULL);
    int status = EAB_OK;
    for (guint i = 0; i < rows->len && !status; i++) {
        eab_table_rows at = g_array_index(rows, eab_table_rows, i);
        while (is_added(shard, out, at.cell) && at.begin < at.end && !status)
            status = eab_table_read(shard->scanned[table], &at, text);
        if (status || (text->len < APPEND_BYTES && i + 1 < rows->len)) continue;
        status = eab_table_append(&out->files[table], text);
        g_string_truncate(text, 0);
    }
    g_string_free(text, TRUE);
    return status;
}

/* accuracy.csv last: its rows commit the cells. */
static int add_cells(const merge *self, const eab_run_folder *shard, eab_run_folder *out) {
    EAB_TRY(bring_files(self, shard, out));
    for (int table = EAB_TABLE_COUNT - 1; table >= 0; table--)
        if (shard->rows[table]->len) EAB_TRY(append_rows(shard, (eab_table)table, out));
    for (int64_t i = 0; i < self->plan.count; i++)
        if (is_added(shard, out, i)) out->cells[i] = shard->cells[i];
    return EAB_OK;
}

static int add_shard(const merge *self, guint i, eab_run_folder *out) {
    eab_run_folder *shard;
    char *folder = eab_shard_folder(self->run, shard_at(self, i));
    int status = eab_run_folder_peek(folder, &self->plan, &shard);
    g_free(folder);
    if (status) return status;
    /* What a running shard has done since all shards were read is for the next merge. */
    for (int64_t k = 0; k < self->plan.count; k++)
        if (self->owner[k] != shard_at(self, i).part) shard->cells[k].status = EAB_CELL_NONE;
    status = add_cells(self, shard, out);
    eab_run_folder_close(shard);
    return status;
}

/* ---- the merged run ------------------------------------------------------------------------------------------ */

/* Whether the split decided which cells each shard has; --cells may give it others. */
static bool is_split(const merge *self, const int32_t *part_of) {
    for (int64_t i = 0; i < self->plan.count; i++)
        if (self->owner[i] && self->owner[i] != part_of[i]) return false;
    return !self->plan.lacks_texts;
}

static void report_shard(const merge *self, int32_t part, int64_t lacking, int64_t first) {
    char *folder = eab_shard_folder(self->run, (eab_shard){part, self->parts});
    if (!g_file_test(folder, G_FILE_TEST_IS_DIR))
        eab_log_note("merge", "shard %d/%d is missing: %s", part, self->parts, folder);
    else if (lacking)
        eab_log_note("merge", "shard %d/%d lacks %lld cell%s, the first of them %s", part, self->parts,
                     (long long)lacking, lacking == 1 ? "" : "s", self->plan.cells[first].id);
    g_free(folder);
}

/* Prints a line for each shard that is missing or lacks cells; if --cells chose the cells, one for the cells that no
 * shard has. */
static void report_missing(const merge *self, eab_run_folder *out) {
    int32_t *part_of = eab_shard_split(&self->plan, self->parts);
    int64_t *lacking = g_new0(int64_t, (gsize)self->parts + 1), *first = g_new0(int64_t, (gsize)self->parts + 1);
    const bool split = is_split(self, part_of);
    for (int64_t i = self->plan.count - 1; i >= 0; i--) {
        eab_cell_outcome outcome;
        if (eab_run_folder_outcome(out, i, &outcome)) continue;
        const int32_t part = split ? part_of[i] : 0;
        lacking[part]++;
        first[part] = i;
    }
    if (lacking[0])
        eab_log_note("merge", "no shard has %lld of the cells, the first of them %s", (long long)lacking[0],
                     self->plan.cells[first[0]].id);
    for (int32_t part = 1; part <= self->parts; part++) report_shard(self, part, lacking[part], first[part]);
    g_free(first);
    g_free(lacking);
    g_free(part_of);
}

/* The manifest describes the machine that trained, not the one that merges, which leaves it as it is if nothing is
 * added. */
static int add_shards(merge *self, eab_run_folder *out, eab_merge_counts *counts) {
    for (int64_t i = 0; i < self->plan.count; i++) counts->added += self->owner[i] && !eab_run_folder_has(out, i);
    if (!counts->added && out->has_manifest) return EAB_OK;
    eab_environment_set(self->environment, "command", self->command);
    EAB_TRY(eab_manifest_write(self->out, self->plan.resolved, self->environment));
    for (guint i = 0; i < self->shards->len; i++) EAB_TRY(add_shard(self, i, out));
    return EAB_OK;
}

static int write_run(merge *self, eab_merge_counts *counts) {
    const eab_run_settings settings = {.backend = eab_environment_get(self->environment, "backend"),
                                       .device = eab_environment_get(self->environment, "device"),
                                       .isa = eab_environment_get(self->environment, "isa"),
                                       .command = self->command,
                                       .later = self->plan.later,
                                       .merges = true,
                                       .save_curves = self->has_table[EAB_TABLE_CURVES],
                                       .save_geometry = self->has_table[EAB_TABLE_GEOMETRY]};
    eab_run_folder *out;
    EAB_TRY(eab_run_folder_open(self->out, &self->plan, &settings, &out));
    if (self->difference) eab_log_note("merge", "%s; results may differ in the last bits", self->difference);
    const int status = add_shards(self, out, counts);
    counts->cells = self->plan.count;
    eab_run_folder_summary(out, &counts->run);
    if (!status) report_missing(self, out);
    const int closed = eab_run_folder_close(out);
    return closed ? closed : status;
}

int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts) {
    merge self = {.run = run, .out = out, .command = command};
    *counts = (eab_merge_counts){0};
    eab_interrupt_watch();
    int status = read_all(&self);
    if (!status) status = write_run(&self, counts);
    g_array_unref(self.shards);
    g_free(self.owner);
    g_free(self.difference);
    eab_environment_free(self.environment);
    eab_plan_free(&self.plan);
    return status;
}
