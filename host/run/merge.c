/* Everything is read first, so that nothing is written before all of it was found to be in order. Then the cells are copied,
 * shard by shard, as a sweep appends them. The next merge continues one that was stopped. */
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
    eab_plan plan;               /* of all shards together */
    GArray *shards;              /* eab_shard, by part: those that are there */
    int32_t parts;               /* that the sweep was split into */
    int32_t *owner;              /* [plan.count]: the part whose tables have the cell; 0: none */
    eab_environment environment; /* of the first shard */
    char *difference;            /* between two shards' environments; NULL: none */
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

/* Takes `environment`. */
static void check_environment(merge *self, eab_environment *environment, int32_t part) {
    const int32_t first = shard_at(self, 0).part;
    if (part == first) {
        self->environment = *environment;
        return;
    }
    int at = 0;
    const char *key = eab_environment_difference(&self->environment, environment, &at);
    if (key && !self->difference)
        self->difference =
            g_strdup_printf("shard %d was done with %s '%.60s', shard %d with '%.60s'", first, key,
                            eab_environment_get(&self->environment, key), part, eab_environment_get(environment, key));
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

static int read_tables(merge *self, const char *folder, int32_t part) {
    eab_run_folder *tables;
    int status = EAB_OK;
    if (!self->owner) self->owner = g_new0(int32_t, (gsize)self->plan.count);
    EAB_TRY(eab_run_folder_peek(folder, &self->plan, &tables));
    for (int64_t i = 0; i < self->plan.count && !status; i++) {
        if (tables->cells[i].status < 0) continue;
        if (self->owner[i])
            status = eab_fail(EAB_BAD_INPUT, "%s: cell %s is in shard %d, too; one of the two must go", folder,
                              self->plan.cells[i].id, self->owner[i]);
        self->owner[i] = part;
    }
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

/* ---- copying ------------------------------------------------------------------------------------------------- */

/* A shard's tables, read cell by cell in the plan's order. */
typedef struct {
    eab_run_folder *folder;
    GArray *rows[EAB_TABLE_COUNT]; /* eab_table_rows, by cell */
    guint next[EAB_TABLE_COUNT];   /* of rows */
    GMappedFile *file[EAB_TABLE_COUNT];
} source;

static void source_close(source *from) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        g_clear_pointer(&from->rows[table], g_array_unref);
        g_clear_pointer(&from->file[table], g_mapped_file_unref);
    }
    eab_run_folder_close(from->folder);
}

static int map_table(source *from, eab_table table) {
    EAB_TRY(eab_run_folder_list_rows(from->folder, table, &from->rows[table]));
    if (!from->rows[table]->len) return EAB_OK;
    const char *path = from->folder->table_paths[table];
    GError *error = NULL;
    from->file[table] = g_mapped_file_new(path, FALSE, &error);
    if (error) {
        eab_fail(EAB_IO, "%s", error->message);
        g_error_free(error);
        return EAB_IO;
    }
    const eab_table_rows *last = &g_array_index(from->rows[table], eab_table_rows, from->rows[table]->len - 1);
    if ((int64_t)g_mapped_file_get_length(from->file[table]) < last->end)
        return eab_fail(EAB_IO, "%s: it changed while it was read", path);
    return EAB_OK;
}

static int source_open(const char *folder, const eab_plan *plan, source *from) {
    *from = (source){.folder = NULL};
    EAB_TRY(eab_run_folder_peek(folder, plan, &from->folder));
    int status = EAB_OK;
    for (int table = 0; table < EAB_TABLE_COUNT && !status; table++) status = map_table(from, (eab_table)table);
    if (status) source_close(from);
    return status;
}

/* The cell's rows in a table; g_free. Cells are asked for in the plan's order. */
static char *take_rows(source *from, eab_table table, int64_t cell) {
    GString *text = g_string_new(NULL);
    for (; from->next[table] < from->rows[table]->len; from->next[table]++) {
        const eab_table_rows *at = &g_array_index(from->rows[table], eab_table_rows, from->next[table]);
        if (at->cell > cell) break;
        if (at->cell == cell)
            g_string_append_len(text, g_mapped_file_get_contents(from->file[table]) + at->begin, at->end - at->begin);
    }
    return g_string_free(text, FALSE);
}

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

static int copy_cell(const merge *self, source *from, int64_t index, eab_run_folder *folder) {
    const eab_cell *cell = &self->plan.cells[index];
    const eab_cell_state *state = &from->folder->cells[index];
    const eab_cell_end end = {.index = index,
                              .status = (eab_cell_status)state->status,
                              .solved = state->solved,
                              .token_accuracy = state->token_accuracy};
    EAB_TRY(bring_file(from->folder->path, self->out, "models", cell));
    EAB_TRY(bring_file(from->folder->path, self->out, "geometry", cell));
    char *rows[EAB_TABLE_COUNT];
    for (int table = 0; table < EAB_TABLE_COUNT; table++) rows[table] = take_rows(from, (eab_table)table, index);
    const int status = eab_run_folder_append(folder, &end, (const char *const *)rows);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) g_free(rows[table]);
    return status;
}

static int copy_shard(const merge *self, eab_shard shard, eab_run_folder *folder, int64_t *added) {
    char *path = eab_shard_folder(self->run, shard);
    source from;
    int status = source_open(path, &self->plan, &from);
    g_free(path);
    EAB_TRY(status);
    for (int64_t i = 0; i < self->plan.count && !status; i++) {
        if (self->owner[i] != shard.part || from.folder->cells[i].status < 0 || eab_run_folder_has(folder, i)) continue;
        status =
            eab_interrupt_count() > 0 ? eab_fail(EAB_INTERRUPTED, "interrupted") : copy_cell(self, &from, i, folder);
        *added += !status;
    }
    source_close(&from);
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

/* Whether any shard has this table. */
static bool any_table(const merge *self, eab_table table) {
    bool found = false;
    for (guint i = 0; i < self->shards->len && !found; i++) {
        char *folder = eab_shard_folder(self->run, shard_at(self, i));
        char *path = g_build_filename(folder, eab_run_table(table)->file_name, NULL);
        found = g_file_test(path, G_FILE_TEST_EXISTS);
        g_free(path);
        g_free(folder);
    }
    return found;
}

/* It describes the machine that trained, not the one that merges. */
static int write_manifest(merge *self) {
    char *path = g_build_filename(self->out, "manifest.ini", NULL);
    eab_environment_set(&self->environment, "command", self->command);
    const int status = eab_manifest_write(path, self->plan.resolved, &self->environment);
    g_free(path);
    return status;
}

static int copy_all(merge *self, eab_run_folder *folder, eab_merge_counts *counts) {
    eab_run_summary summary;
    for (guint i = 0; i < self->shards->len; i++) EAB_TRY(copy_shard(self, shard_at(self, i), folder, &counts->added));
    EAB_TRY(eab_run_folder_sync(folder));
    eab_run_folder_summary(folder, &summary);
    counts->cells = self->plan.count;
    counts->done = summary.done;
    counts->diverged = summary.diverged;
    counts->failed = summary.failed;
    counts->missing = self->plan.count - summary.done - summary.failed;
    report_missing(self, folder);
    return EAB_OK;
}

static int write_all(merge *self, eab_merge_counts *counts) {
    const eab_run_settings settings = {.backend = eab_environment_get(&self->environment, "backend"),
                                       .device = eab_environment_get(&self->environment, "device"),
                                       .isa = eab_environment_get(&self->environment, "isa"),
                                       .command = self->command,
                                       .save_curves = any_table(self, EAB_TABLE_CURVES),
                                       .save_geometry = any_table(self, EAB_TABLE_GEOMETRY)};
    eab_run_folder *folder;
    EAB_TRY(eab_run_folder_open(self->out, &self->plan, &settings, &folder));
    if (self->difference) fprintf(stderr, "eabench merge: %s; results may differ in the last bits\n", self->difference);
    bool adds = false;
    for (int64_t i = 0; i < self->plan.count && !adds; i++) adds = self->owner[i] && !eab_run_folder_has(folder, i);
    int status = adds ? write_manifest(self) : EAB_OK;
    if (!status) status = copy_all(self, folder, counts);
    const int closed = eab_run_folder_close(folder);
    return closed ? closed : status;
}

int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts) {
    merge self = {.run = run, .out = out, .command = command};
    *counts = (eab_merge_counts){0};
    eab_interrupt_watch();
    int status = read_all(&self);
    if (!status) status = write_all(&self, counts);
    g_array_unref(self.shards);
    g_free(self.owner);
    g_free(self.difference);
    eab_environment_free(&self.environment);
    eab_plan_free(&self.plan);
    return status;
}
