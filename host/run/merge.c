/* Everything is read first, so that nothing is written before all of it was found to be in order. Then each table of
 * the merged run is replaced by one with the shards' rows, accuracy.csv last: its rows commit. A merge that was stopped
 * before leaves rows without a commit, which the next one drops and adds again. */
#include "merge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/replace.h"
#include "folder_state.h"
#include "kernels/status.h"
#include "manifest.h"
#include "plan/shard.h"

typedef struct {
    const char *run, *out, *command;
    eab_plan plan;                       /* of all shards together */
    GArray *shards;                      /* eab_shard, by part: those that are there */
    int32_t parts;                       /* that the sweep was split into */
    int32_t *owner;                      /* [plan.count]: the part whose tables have the cell; 0: none */
    bool has_table[EAB_TABLE_COUNT];     /* some shard */
    GArray *rows[EAB_TABLE_COUNT];       /* eab_table_rows of all shards */
    GPtrArray *sources[EAB_TABLE_COUNT]; /* the files that they are in; the first is OUT's */
    eab_environment environment;         /* of the first shard */
    char *difference;                    /* between two shards' environments; NULL: none */
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

/* The first shard's spec is the run's; the others' must be the same. */
static int check_spec(merge *self, const char *manifest) {
    eab_plan plan;
    EAB_TRY(eab_plan_load(manifest, NULL, &plan));
    if (!self->plan.resolved) {
        self->plan = plan;
        return EAB_OK;
    }
    const bool same = strcmp(plan.resolved, self->plan.resolved) == 0;
    eab_plan_free(&plan);
    if (same) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s is of another spec than shard %d's; shards of one spec are allowed", manifest,
                    shard_at(self, 0).part);
}

/* Takes `environment`. The first shard's is the run's. */
static void check_environment(merge *self, eab_environment *environment, int32_t part) {
    const int32_t first = shard_at(self, 0).part;
    if (part == first) {
        self->environment = *environment;
        return;
    }
    char label[32];
    g_snprintf(label, sizeof label, "shard %d:", first);
    char *differences = eab_environment_differences(environment, &self->environment, label);
    if (*differences && !self->difference)
        self->difference = g_strdup_printf("shard %d was done with %s", part, differences);
    g_free(differences);
    eab_environment_free(environment);
}

static int read_manifest(merge *self, const char *folder, int32_t part) {
    char *path = g_build_filename(folder, "manifest.ini", NULL);
    eab_environment environment;
    bool found;
    int status = eab_manifest_read(path, &environment, &found);
    if (!status && !found)
        status = eab_fail(EAB_BAD_INPUT, "%s: it is missing; a shard that eabench sweep has begun is allowed", path);
    if (!status) status = check_spec(self, path);
    g_free(path);
    check_environment(self, &environment, part);
    return status;
}

/* Which cells the shard has. */
static int claim_cells(merge *self, const eab_run_folder *tables, int32_t part) {
    for (int64_t i = 0; i < self->plan.count; i++) {
        if (tables->cells[i].status < 0) continue;
        if (self->owner[i])
            return eab_fail(EAB_BAD_INPUT, "%s: cell %s is in shard %d, too; one of the two must go", tables->path,
                            self->plan.cells[i].id, self->owner[i]);
        self->owner[i] = part;
    }
    return EAB_OK;
}

/* Where the rows of these cells are. */
static int list_rows(merge *self, const eab_run_folder *tables, eab_table table) {
    GArray *rows;
    const int status = eab_run_folder_list_rows(tables, table, &rows);
    for (guint i = 0; i < rows->len; i++) {
        eab_table_rows *at = &g_array_index(rows, eab_table_rows, i);
        at->source = (int32_t)self->sources[table]->len;
        if (tables->cells[at->cell].status >= 0) g_array_append_val(self->rows[table], *at);
    }
    g_ptr_array_add(self->sources[table], g_strdup(tables->table_paths[table]));
    self->has_table[table] = self->has_table[table] || tables->has_table[table];
    g_array_unref(rows);
    return status;
}

static int read_tables(merge *self, const char *folder, int32_t part) {
    eab_run_folder *tables;
    if (!self->owner) self->owner = g_new0(int32_t, (gsize)self->plan.count);
    EAB_TRY(eab_run_folder_peek(folder, &self->plan, &tables));
    int status = claim_cells(self, tables, part);
    for (int table = 0; table < EAB_TABLE_COUNT && !status; table++) status = list_rows(self, tables, (eab_table)table);
    eab_run_folder_close(tables);
    return status;
}

static int read_all(merge *self) {
    EAB_TRY(list_shards(self));
    int status = EAB_OK;
    for (guint i = 0; i < self->shards->len && !status; i++) {
        char *folder = eab_shard_folder(self->run, shard_at(self, i));
        status = read_manifest(self, folder, shard_at(self, i).part);
        if (!status) status = read_tables(self, folder, shard_at(self, i).part);
        g_free(folder);
    }
    return status;
}

/* ---- adding ------------------------------------------------------------------------------------------------- */

/* A model or an attention map: the same file under a second name where the file system can do that, else a copy. */
static int bring_file(const char *from, const char *to, const char *kind, const eab_cell *cell) {
    char *old = eab_run_cell_file(from, kind, cell), *new = eab_run_cell_file(to, kind, cell), *bytes = NULL;
    char *parent = g_path_get_dirname(new);
    gsize size;
    GError *error = NULL;
    int status = EAB_OK;
    if (access(old, F_OK) == 0 && access(new, F_OK) != 0 && (mkdir(parent, 0777) == 0 || errno == EEXIST) &&
        link(old, new) != 0) {
        if (g_file_get_contents(old, &bytes, &size, &error)) status = eab_replace_file(new, bytes, size);
        else status = eab_fail(EAB_IO, "%s", error->message);
        g_clear_error(&error);
    }
    g_free(bytes);
    g_free(parent);
    g_free(new);
    g_free(old);
    return status;
}

/* Models and attention maps of the cells that are added. */
static int bring_files(const merge *self, eab_run_folder *folder) {
    int status = EAB_OK;
    for (int64_t i = 0; i < self->plan.count && !status; i++) {
        if (!self->owner[i] || eab_run_folder_has(folder, i)) continue;
        if (eab_interrupt_count() > 0) return eab_fail(EAB_INTERRUPTED, "interrupted");
        char *from = eab_shard_folder(self->run, (eab_shard){self->owner[i], self->parts});
        status = bring_file(from, self->out, "models", &self->plan.cells[i]);
        if (!status) status = bring_file(from, self->out, "geometry", &self->plan.cells[i]);
        g_free(from);
    }
    return status;
}

/* Replaces OUT's table by one with its own rows and those that are added, in the plan's order. */
static int add_rows(const merge *self, eab_run_folder *folder, eab_table table) {
    GArray *rows;
    int status = eab_run_folder_list_rows(folder, table, &rows);
    for (guint i = 0; i < self->rows[table]->len; i++) {
        const eab_table_rows *at = &g_array_index(self->rows[table], eab_table_rows, i);
        if (!eab_run_folder_has(folder, at->cell)) g_array_append_val(rows, *at);
    }
    g_array_sort(rows, eab_table_rows_compare);
    if (!status)
        status = eab_table_rewrite(eab_run_table(table), (const char *const *)self->sources[table]->pdata,
                                   &g_array_index(rows, eab_table_rows, 0), rows->len);
    g_array_unref(rows);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

/* A line for each shard that is missing or lacks cells. */
static void report_missing(const merge *self, eab_run_folder *folder) {
    int32_t *part_of = eab_shard_split(&self->plan, self->parts);
    int64_t *lacking = g_new0(int64_t, (gsize)self->parts + 1), *first = g_new0(int64_t, (gsize)self->parts + 1);
    for (int64_t i = self->plan.count - 1; i >= 0; i--) {
        eab_cell_outcome outcome;
        if (eab_run_folder_outcome(folder, i, &outcome)) continue;
        lacking[part_of[i]]++;
        first[part_of[i]] = i;
    }
    guint next = 0;
    for (int32_t part = 1; part <= self->parts; part++) {
        const bool there = next < self->shards->len && shard_at(self, next).part == part;
        next += there;
        if (!there)
            fprintf(stderr, "eabench merge: shard %d/%d is missing: %s/shards/%d-of-%d\n", part, self->parts, self->run,
                    part, self->parts);
        else if (lacking[part])
            fprintf(stderr, "eabench merge: shard %d/%d lacks %lld cell%s, the first of them %s\n", part, self->parts,
                    (long long)lacking[part], lacking[part] == 1 ? "" : "s", self->plan.cells[first[part]].id);
    }
    g_free(first);
    g_free(lacking);
    g_free(part_of);
}

/* It describes the machine that trained, not the one that merges. */
static int write_manifest(merge *self) {
    char *path = g_build_filename(self->out, "manifest.ini", NULL);
    eab_environment_set(&self->environment, "command", self->command);
    const int status = eab_manifest_write(path, self->plan.resolved, &self->environment);
    g_free(path);
    return status;
}

static int count_cells(const merge *self, eab_merge_counts *counts) {
    eab_run_folder *merged;
    eab_run_summary summary;
    EAB_TRY(eab_run_folder_peek(self->out, &self->plan, &merged));
    eab_run_folder_summary(merged, &summary);
    counts->cells = self->plan.count;
    counts->done = summary.done;
    counts->diverged = summary.diverged;
    counts->failed = summary.failed;
    counts->missing = self->plan.count - summary.done - summary.failed;
    report_missing(self, merged);
    return eab_run_folder_close(merged);
}

static int add_cells(merge *self, eab_run_folder *folder, eab_merge_counts *counts) {
    for (int64_t i = 0; i < self->plan.count; i++) counts->added += self->owner[i] && !eab_run_folder_has(folder, i);
    if (!counts->added) return EAB_OK;
    EAB_TRY(write_manifest(self));
    EAB_TRY(bring_files(self, folder));
    for (int table = EAB_TABLE_COUNT - 1; table >= 0; table--)
        if (folder->files[table].path) EAB_TRY(add_rows(self, folder, (eab_table)table));
    return EAB_OK;
}

static int write_all(merge *self, eab_merge_counts *counts) {
    const eab_run_settings settings = {.backend = eab_environment_get(&self->environment, "backend"),
                                       .device = eab_environment_get(&self->environment, "device"),
                                       .isa = eab_environment_get(&self->environment, "isa"),
                                       .command = self->command,
                                       .save_curves = self->has_table[EAB_TABLE_CURVES],
                                       .save_geometry = self->has_table[EAB_TABLE_GEOMETRY]};
    eab_run_folder *folder;
    EAB_TRY(eab_run_folder_open(self->out, &self->plan, &settings, &folder));
    if (self->difference) fprintf(stderr, "eabench merge: %s; results may differ in the last bits\n", self->difference);
    int status = add_cells(self, folder, counts);
    if (!status) status = count_cells(self, counts);
    const int closed = eab_run_folder_close(folder);
    return closed ? closed : status;
}

int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts) {
    merge self = {.run = run, .out = out, .command = command};
    *counts = (eab_merge_counts){0};
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        self.rows[table] = g_array_new(FALSE, FALSE, sizeof(eab_table_rows));
        self.sources[table] = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(self.sources[table], g_build_filename(out, eab_run_table((eab_table)table)->file_name, NULL));
    }
    eab_interrupt_watch();
    int status = read_all(&self);
    if (!status) status = write_all(&self, counts);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        g_array_unref(self.rows[table]);
        g_ptr_array_unref(self.sources[table]);
    }
    g_array_unref(self.shards);
    g_free(self.owner);
    g_free(self.difference);
    eab_environment_free(&self.environment);
    eab_plan_free(&self.plan);
    return status;
}
