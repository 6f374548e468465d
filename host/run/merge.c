/* Shard by shard, table by table: where each cell's rows lie is listed first, so that nothing is written before all of it was
 * found to be in order; then they are copied byte by byte, cell by cell, as the sweep itself appends them. A merge that is
 * stopped is gone on with by the next one. */
#include "merge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/replace.h"
#include "base/suggest.h"
#include "environment.h"
#include "folder.h"
#include "kernels/status.h"
#include "manifest.h"
#include "plan/shard.h"
#include "tables.h"

typedef struct {
    eab_shard shard;
    char *folder;
    eab_environment environment;
    GArray *rows[EAB_TABLE_COUNT]; /* eab_table_rows, cells of the whole plan */
    int64_t lacking, first_lacking;
} part;

/* Of a cell of the whole plan. */
typedef struct {
    int32_t part_seen; /* which part has rows of it, from 1; 0: none */
    int32_t rows;      /* in accuracy.csv */
    int8_t status;     /* the worst of them; -1: none */
} cell_state;

typedef struct {
    const char *run;
    eab_plan plan;
    GHashTable *places; /* a cell's id -> its index in the plan */
    int32_t *part_of;   /* [plan.count] */
    cell_state *cells;
    part *parts;
    int32_t count;
    part *at; /* the one that is read */
    eab_table table;
    int32_t status_column;
    GString *differences;
} merge;

/* ---- reading ------------------------------------------------------------------------------------------------- */

static int visit_row(void *context, const eab_csv_row *row) {
    merge *self = context;
    gpointer place;
    char shown[64];
    if (!g_hash_table_lookup_extended(self->places, row->field[0], NULL, &place))
        return eab_fail(EAB_BAD_INPUT, "cell '%s' is not one of the shards' spec",
                        eab_excerpt(row->field[0], 40, shown, sizeof shown));
    const int64_t index = (int64_t)GPOINTER_TO_SIZE(place);
    cell_state *cell = &self->cells[index];
    const int32_t part_number = self->at->shard.part;
    if (cell->part_seen && cell->part_seen != part_number)
        return eab_fail(EAB_BAD_INPUT, "cell %s is in shard %d, too; one of the two must go", row->field[0],
                        cell->part_seen);
    cell->part_seen = part_number;
    if (self->table == EAB_TABLE_ACCURACY) {
        const int status = eab_cell_status_from_name(row->field[self->status_column]);
        if (status < 0)
            return eab_fail(EAB_BAD_INPUT, "status is '%s'; ok, diverged, fail, oom, timeout are allowed",
                            eab_excerpt(row->field[self->status_column], 40, shown, sizeof shown));
        if (++cell->rows > eab_accuracy_row_count(&self->plan.cells[index].config))
            return eab_fail(EAB_BAD_INPUT, "too many rows for cell %s", row->field[0]);
        if (cell->status < 0 || eab_cell_status_is_result((eab_cell_status)cell->status)) cell->status = (int8_t)status;
    }
    const eab_table_rows rows = {.cell = index, .begin = row->begin, .end = row->end};
    g_array_append_val(self->at->rows[self->table], rows);
    return EAB_OK;
}

static int compare_rows(const void *a, const void *b) {
    const eab_table_rows *left = a, *right = b;
    if (left->cell != right->cell) return left->cell < right->cell ? -1 : 1;
    return left->begin < right->begin ? -1 : left->begin > right->begin;
}

static bool is_whole(const merge *self, int64_t index) {
    return self->cells[index].status >= 0 &&
           self->cells[index].rows == eab_accuracy_row_count(&self->plan.cells[index].config);
}

static int read_tables(merge *self, part *own) {
    self->at = own;
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        eab_table_facts facts;
        char *path = g_build_filename(own->folder, eab_run_table((eab_table)table)->file_name, NULL);
        self->table = (eab_table)table;
        const int status = eab_table_scan(path, eab_run_table((eab_table)table), visit_row, self, &facts);
        g_free(path);
        EAB_TRY(status);
        g_array_sort(own->rows[table], compare_rows);
    }
    return EAB_OK;
}

static void compare_environments(merge *self, const part *own) {
    const eab_environment *first = &self->parts[0].environment;
    int at = 0;
    const char *key = eab_environment_difference(first, &own->environment, &at);
    if (key && !self->differences->len)
        g_string_printf(self->differences, "shard %d was done with %s '%.60s', shard %d with '%.60s'",
                        self->parts[0].shard.part, key, eab_environment_get(first, key), own->shard.part,
                        eab_environment_get(&own->environment, key));
}

/* The first shard's spec is the run's; the others' must be the same. */
static int read_manifest(merge *self, part *own) {
    char *path = g_build_filename(own->folder, "manifest.ini", NULL);
    eab_plan plan = {.count = 0};
    bool found = false;
    int status = eab_manifest_read(path, &own->environment, &found);
    if (!status && !found)
        status = eab_fail(EAB_BAD_INPUT, "%s: it is missing; a shard that eabench sweep has begun is allowed", path);
    if (!status) status = eab_plan_load(path, NULL, &plan);
    if (!status && own == self->parts) self->plan = plan;
    else if (!status) {
        if (strcmp(plan.resolved, self->plan.resolved) != 0)
            status =
                eab_fail(EAB_BAD_INPUT, "%s is of another spec than %s/manifest.ini; shards of one spec are allowed",
                         path, self->parts[0].folder);
        eab_plan_free(&plan);
    }
    if (!status) compare_environments(self, own);
    g_free(path);
    return status;
}

static int list_parts(merge *self) {
    GArray *shards;
    int status = eab_shard_list(self->run, &shards);
    if (!status && !shards->len)
        status = eab_fail(EAB_BAD_INPUT,
                          "%s: no shards/I-of-N in it; a folder that eabench sweep --shard has filled is "
                          "allowed",
                          self->run);
    const eab_shard *last = shards->len ? &g_array_index(shards, eab_shard, shards->len - 1) : NULL;
    if (!status && g_array_index(shards, eab_shard, 0).parts != last->parts)
        status = eab_fail(EAB_BAD_INPUT, "%s/shards: shards of %d and of %d; those of one split are allowed", self->run,
                          g_array_index(shards, eab_shard, 0).parts, last->parts);
    self->count = status ? 0 : (int32_t)shards->len;
    self->parts = g_new0(part, (gsize)MAX(1, self->count));
    for (int32_t i = 0; i < self->count; i++) {
        self->parts[i].shard = g_array_index(shards, eab_shard, (guint)i);
        self->parts[i].folder = eab_shard_folder(self->run, self->parts[i].shard);
        for (int table = 0; table < EAB_TABLE_COUNT; table++)
            self->parts[i].rows[table] = g_array_new(FALSE, FALSE, sizeof(eab_table_rows));
    }
    g_array_free(shards, TRUE);
    return status;
}

static int read_all(merge *self) {
    EAB_TRY(list_parts(self));
    for (int32_t i = 0; i < self->count; i++) EAB_TRY(read_manifest(self, &self->parts[i]));
    self->part_of = eab_shard_split(&self->plan, self->parts[0].shard.parts);
    self->cells = g_new0(cell_state, (gsize)self->plan.count);
    for (int64_t i = 0; i < self->plan.count; i++) {
        self->cells[i].status = -1;
        g_hash_table_insert(self->places, self->plan.cells[i].id, GSIZE_TO_POINTER((gsize)i));
    }
    for (int32_t i = 0; i < self->count; i++) EAB_TRY(read_tables(self, &self->parts[i]));
    return EAB_OK;
}

/* ---- copying ------------------------------------------------------------------------------------------------- */

static int append_bytes(int fd, const char *path, const eab_table_rows *rows, GString *text) {
    const gsize size = (gsize)(rows->end - rows->begin), before = text->len;
    g_string_set_size(text, before + size);
    for (gsize got = 0; got < size;) {
        const ssize_t count = pread(fd, text->str + before + got, size - got, (off_t)(rows->begin + (int64_t)got));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            return eab_fail(EAB_IO, "%s: cannot be read: %s", path, count ? g_strerror(errno) : "it changed");
        got += (gsize)count;
    }
    return EAB_OK;
}

/* A model or an attention map: the same file under a second name where the disk can do that, else a copy. */
static int bring_file(const char *from, const char *to, const char *kind, const char *id) {
    char *old = g_strdup_printf("%s/%s/%s.safetensors", from, kind, id), *bytes = NULL;
    char *new = g_strdup_printf("%s/%s/%s.safetensors", to, kind, id);
    char *parent = g_build_filename(to, kind, NULL);
    gsize size;
    GError *error = NULL;
    int status = EAB_OK;
    if (access(old, F_OK) == 0 && access(new, F_OK) != 0 && (mkdir(parent, 0777) == 0 || errno == EEXIST) &&
        link(old, new) != 0) {
        if (!g_file_get_contents(old, &bytes, &size, &error)) {
            status = eab_fail(EAB_IO, "%s", error->message);
            g_error_free(error);
        } else status = eab_replace_file(new, bytes, size);
    }
    g_free(bytes);
    g_free(parent);
    g_free(new);
    g_free(old);
    return status;
}

typedef struct {
    int fd[EAB_TABLE_COUNT];
    char *path[EAB_TABLE_COUNT];
    guint next[EAB_TABLE_COUNT]; /* of part.rows */
} open_part;

/* The rows of this cell, which is the next one that has any. */
static int gather_cell(const part *own, open_part *files, int64_t index, GString **rows) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        const GArray *list = own->rows[table];
        g_string_truncate(rows[table], 0);
        while (files->next[table] < list->len && g_array_index(list, eab_table_rows, files->next[table]).cell < index)
            files->next[table]++;
        for (; files->next[table] < list->len; files->next[table]++) {
            const eab_table_rows *at = &g_array_index(list, eab_table_rows, files->next[table]);
            if (at->cell != index) break;
            EAB_TRY(append_bytes(files->fd[table], files->path[table], at, rows[table]));
        }
    }
    return EAB_OK;
}

static int copy_cells(merge *self, const part *own, open_part *files, const char *out, eab_run_folder *folder,
                      eab_merge_counts *counts) {
    GString *rows[EAB_TABLE_COUNT];
    int status = EAB_OK;
    for (int table = 0; table < EAB_TABLE_COUNT; table++) rows[table] = g_string_new(NULL);
    for (int64_t i = 0; i < self->plan.count && !status; i++) {
        const char *id = self->plan.cells[i].id;
        if (self->cells[i].part_seen != own->shard.part || !is_whole(self, i)) continue;
        if (eab_run_folder_has(folder, i)) continue;
        if (eab_interrupt_count() > 0) status = eab_fail(EAB_INTERRUPTED, "interrupted");
        const eab_cell_end end = {.index = i, .status = (eab_cell_status)self->cells[i].status, .solved = -1};
        if (!status) status = bring_file(own->folder, out, "models", id);
        if (!status) status = bring_file(own->folder, out, "geometry", id);
        if (!status) status = gather_cell(own, files, i, rows);
        const char *const texts[EAB_TABLE_COUNT] = {rows[0]->str, rows[1]->str, rows[2]->str, rows[3]->str};
        if (!status) status = eab_run_folder_append(folder, &end, texts);
        counts->added += !status;
    }
    for (int table = 0; table < EAB_TABLE_COUNT; table++) g_string_free(rows[table], TRUE);
    return status;
}

static int copy_part(merge *self, const part *own, const char *out, eab_run_folder *folder, eab_merge_counts *counts) {
    open_part files = {.next = {0}};
    int status = EAB_OK;
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        files.path[table] = g_build_filename(own->folder, eab_run_table((eab_table)table)->file_name, NULL);
        files.fd[table] = open(files.path[table], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (files.fd[table] < 0 && own->rows[table]->len && !status)
            status = eab_fail(EAB_IO, "%s: cannot be read: %s", files.path[table], g_strerror(errno));
    }
    if (!status) status = copy_cells(self, own, &files, out, folder, counts);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        if (files.fd[table] >= 0) close(files.fd[table]);
        g_free(files.path[table]);
    }
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static void count_cells(merge *self, eab_run_folder *folder, eab_merge_counts *counts) {
    counts->cells = self->plan.count;
    for (int64_t i = 0; i < self->plan.count; i++) {
        eab_cell_outcome outcome;
        if (!eab_run_folder_outcome(folder, i, &outcome)) {
            counts->missing++;
            for (int32_t k = 0; k < self->count; k++)
                if (self->parts[k].shard.part == self->part_of[i] && self->parts[k].lacking++ == 0)
                    self->parts[k].first_lacking = i;
            continue;
        }
        counts->done += eab_cell_status_is_result(outcome.status);
        counts->diverged += outcome.status == EAB_CELL_DIVERGED;
        counts->failed += !eab_cell_status_is_result(outcome.status);
    }
}

static void tell_missing(const merge *self) {
    int32_t next = 0;
    for (int32_t number = 1; number <= self->parts[0].shard.parts; number++) {
        const part *own = next < self->count && self->parts[next].shard.part == number ? &self->parts[next++] : NULL;
        if (!own)
            fprintf(stderr, "eabench merge: shard %d/%d is missing: %s/shards/%d-of-%d\n", number,
                    self->parts[0].shard.parts, self->run, number, self->parts[0].shard.parts);
        else if (own->lacking)
            fprintf(stderr, "eabench merge: shard %d/%d lacks %lld cell%s, the first of them %s\n", number,
                    own->shard.parts, (long long)own->lacking, own->lacking == 1 ? "" : "s",
                    self->plan.cells[own->first_lacking].id);
    }
}

static bool any_rows(const merge *self, eab_table table) {
    for (int32_t i = 0; i < self->count; i++)
        if (self->parts[i].rows[table]->len) return true;
    return false;
}

/* It tells of the machine that trained, not of the one that merged. */
static int write_manifest(merge *self, const char *out, const char *command) {
    char *path = g_build_filename(out, "manifest.ini", NULL);
    eab_environment_set(&self->parts[0].environment, "command", command);
    const int status = eab_manifest_write(path, self->plan.resolved, &self->parts[0].environment);
    g_free(path);
    return status;
}

static int write_all(merge *self, const char *out, const char *command, eab_merge_counts *counts) {
    const eab_environment *first = &self->parts[0].environment;
    const eab_run_settings settings = {.backend = eab_environment_get(first, "backend"),
                                       .device = eab_environment_get(first, "device"),
                                       .isa = eab_environment_get(first, "isa"),
                                       .command = command,
                                       .save_curves = any_rows(self, EAB_TABLE_CURVES),
                                       .save_geometry = any_rows(self, EAB_TABLE_GEOMETRY)};
    eab_run_folder *folder;
    EAB_TRY(eab_run_folder_open(out, &self->plan, &settings, &folder));
    if (self->differences->len)
        fprintf(stderr, "eabench merge: %s; results may differ in the last bits\n", self->differences->str);
    int status = EAB_OK;
    for (int32_t i = 0; i < self->count && !status; i++) status = copy_part(self, &self->parts[i], out, folder, counts);
    char *reason = g_strdup(status ? eab_last_error() : "");
    const int synced = eab_run_folder_sync(folder);
    if (!synced) count_cells(self, folder, counts);
    const int written = counts->added ? write_manifest(self, out, command) : EAB_OK;
    const int closed = eab_run_folder_close(folder);
    if (!status && (synced || written || closed)) status = synced ? synced : written ? written : closed;
    else if (status) eab_fail((eab_status)status, "%s", reason);
    g_free(reason);
    if (!status) tell_missing(self);
    return status;
}

int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts) {
    merge self = {.run = run,
                  .places = g_hash_table_new(g_str_hash, g_str_equal),
                  .status_column = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), "status"),
                  .differences = g_string_new(NULL)};
    *counts = (eab_merge_counts){0};
    eab_interrupt_watch();
    int status = read_all(&self);
    if (!status) status = write_all(&self, out, command, counts);
    for (int32_t i = 0; i < self.count; i++) {
        for (int table = 0; table < EAB_TABLE_COUNT; table++) g_array_free(self.parts[i].rows[table], TRUE);
        eab_environment_free(&self.parts[i].environment);
        g_free(self.parts[i].folder);
    }
    g_free(self.parts);
    g_free(self.cells);
    g_free(self.part_of);
    g_string_free(self.differences, TRUE);
    g_hash_table_destroy(self.places);
    eab_plan_free(&self.plan);
    return status;
}
