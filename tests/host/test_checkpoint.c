/* Checkpoints: training in parts gives the same bits as training in one, and an unusable file is reported and
 * ignored. */
#include <criterion/criterion.h>
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleet_fixture.h"
#include "host/model/checkpoint.h"
#include "host/model/checkpoint_file.h"
#include "host/run/checkpoints.h"
#include "host/spec/cell_task.h"
#include "host/spec/mixture.h"
#include "host/spec/options.h"
#include "interrupted.h"
#include "sweep_fixture.h"

enum { MEMBERS = 4, NEVER = 1000000 };

static char *folder, *path;

static void open_folder(void) {
    folder = fixture_folder();
    path = g_build_filename(folder, "checkpoints", "fleet.ckpt", NULL);
}

static void close_folder(void) {
    fixture_remove(folder);
    g_free(path);
}

TestSuite(checkpoint, .init = open_folder, .fini = close_folder);

/* One diverges, one is solved early and leaves, and two stay to the end. */
static void mixed_configs(eab_config *configs) {
    for (int i = 0; i < MEMBERS; i++) {
        configs[i] = tiny_config();
        configs[i].steps = 45;
        configs[i].eval_every = 10; /* the last evaluation is not a regular one */
        configs[i].batch = 8;
        configs[i].eval_tokens = 24;
        configs[i].mechanism = i;
        configs[i].seed = 5 + i;
        configs[i].lr = 1e-2 * (1 + i);
        configs[i].level.option[EAB_RECURRENCE_BASIS] = 2 + i;
        configs[i].norm = EAB_NORM_NONE;
        configs[i].optimizer = EAB_OPTIMIZER_SGD;
    }
    configs[0].level.option[EAB_RECURRENCE_A] = 0; /* x_t = x_{t-2}: easy */
    configs[0].lr = 1;
    configs[2].lr = 10;
    configs[2].clip = 0;
}

static void train_whole(const char *backend, int32_t members, const eab_config *configs, eab_cell_result *results) {
    const interrupted_story story = train_in_parts(backend, 0, NEVER, NULL, members, configs, results);
    cr_assert_eq(story.parts, 1);
}

static void expect_parts_are_the_whole(const char *backend, int32_t members, const eab_config *configs) {
    eab_cell_result whole[MEMBERS], parts[MEMBERS];
    train_whole(backend, members, configs, whole);
    /* At least 10 calls: enough for an evaluation, which is repeated if it is interrupted. */
    for (int calls = 10; calls < 80; calls += 1 + calls / 12) {
        const interrupted_story story = train_in_parts(backend, calls, NEVER, path, members, configs, parts);
        cr_expect_eq(story.notes, 0, "%s", story.note);
        if (calls < 20) cr_expect_gt(story.parts, 1, "%d parts of %d calls", story.parts, calls);
        char what[64];
        for (int32_t i = 0; i < members; i++) {
            g_snprintf(what, sizeof what, "%s, %d calls at a time, member %d", backend, calls, i);
            expect_same_bits(&parts[i], &whole[i], what);
        }
        free_curves(parts, members);
        unlink(path);
    }
    free_curves(whole, members);
}

Test(checkpoint, a_fleet_in_parts_on_the_cpu) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    eab_cell_result whole[MEMBERS];
    train_whole("cpu", MEMBERS, configs, whole);
    cr_expect_eq(whole[2].status, EAB_CELL_DIVERGED); /* the test needs a member that diverges */
    cr_expect_eq(whole[1].steps_done, 45);
    free_curves(whole, MEMBERS);
    expect_parts_are_the_whole("cpu", MEMBERS, configs);
}

Test(checkpoint, a_cell_with_adamw_in_parts_on_every_processor_backend) {
    static const char *const backends[] = {"cpu", "reference", "plain"};
    eab_config config = tiny_config();
    config.stop_when_solved = 0;
    config.mechanism = 1;
    config.eval_tokens = 24;
    for (size_t i = 0; i < G_N_ELEMENTS(backends); i++) expect_parts_are_the_whole(backends[i], 1, &config);
}

Test(checkpoint, a_cell_with_dropout_and_repeated_sequences_in_parts) {
    eab_config config = tiny_config();
    config.dropout = 0.2;
    config.sequences = 7; /* a batch has 3 */
    config.eval_tokens = 24;
    expect_parts_are_the_whole("cpu", 1, &config);
}

Test(checkpoint, a_mixture_in_parts) {
    eab_config configs[2];
    GPtrArray *mixtures = g_ptr_array_new_with_free_func(g_free);
    cr_assert_eq(eab_mixture_parse("recurrence(basis=3 delay=2) + recurrence(basis=2 delay=1)", "here", mixtures),
                 EAB_OK);
    for (int i = 0; i < 2; i++) {
        configs[i] = tiny_config();
        configs[i].seed = i;
        configs[i].eval_tokens = 12;
        configs[i].mixture = g_ptr_array_index(mixtures, 0);
        configs[i].level = *eab_config_part(&configs[i], 0);
    }
    expect_parts_are_the_whole("cpu", 2, configs);
    g_ptr_array_unref(mixtures);
}

/* Checkpoints while training change nothing, and training resumes from the last one. */
Test(checkpoint, after_every_step) {
    eab_config configs[MEMBERS];
    eab_cell_result whole[MEMBERS], parts[MEMBERS];
    interrupted_story story = {0};
    mixed_configs(configs);
    train_whole("cpu", MEMBERS, configs, whole);
    cr_assert_eq(train_part("cpu", 0, 1e-9, path, MEMBERS, configs, parts, &story), EAB_OK);
    for (int32_t i = 0; i < MEMBERS; i++) expect_same_bits(&parts[i], &whole[i], "with checkpoints");
    free_curves(parts, MEMBERS);
    cr_assert_eq(train_part("cpu", 0, 1e-9, path, MEMBERS, configs, parts, &story), EAB_OK);
    for (int32_t i = 0; i < MEMBERS; i++) expect_same_bits(&parts[i], &whole[i], "from the last checkpoint");
    free_curves(parts, MEMBERS);
    free_curves(whole, MEMBERS);
    cr_expect_eq(story.notes, 0, "%s", story.note);
}

/* The times of all parts add up: here the first part is slow. The time between the parts does not count. */
Test(checkpoint, times_add_up) {
    enum { CALLS = 8, SLOW_MS = 20 }; /* steps only: they end before the first evaluation */
    eab_config config = tiny_config();
    eab_cell_result first, whole;
    interrupted_story story = {0};
    config.stop_when_solved = 0;
    slow_ms = SLOW_MS;
    cr_assert_eq(train_part("cpu", CALLS, NEVER, path, 1, &config, &first, &story), EAB_INTERRUPTED);
    slow_ms = 0;
    cr_assert_eq(train_part("cpu", 0, NEVER, path, 1, &config, &whole, &story), EAB_OK);
    cr_expect_geq(whole.train_s, 1e-3 * CALLS * SLOW_MS);
    cr_expect_gt(whole.wall_s, whole.train_s);
    cr_expect_eq(whole.fleet_tokens, whole.tokens);
    free_curves(&whole, 1);
}

/* The file has more cells than are trained now: the results of the others were stored before a crash. */
Test(checkpoint, a_part_of_the_fleet_resumes) {
    eab_config configs[MEMBERS];
    eab_cell_result whole[MEMBERS], rest[MEMBERS];
    interrupted_story story = {0};
    mixed_configs(configs);
    train_whole("cpu", MEMBERS, configs, whole);
    cr_assert_eq(train_part("cpu", 30, NEVER, path, MEMBERS, configs, rest, &story), EAB_INTERRUPTED);
    cr_assert_eq(train_part("cpu", 0, NEVER, path, 2, configs + 2, rest, &story), EAB_OK);
    cr_expect_eq(story.notes, 0, "%s", story.note);
    for (int i = 0; i < 2; i++) {
        rest[i].fleet_tokens = whole[2 + i].fleet_tokens; /* fewer members from the checkpoint on */
        expect_same_bits(&rest[i], &whole[2 + i], "the second half");
    }
    free_curves(rest, 2);
    free_curves(whole, MEMBERS);
}

/* ---- unusable files ------------------------------------------------------------------------------------------ */

static GString *make_checkpoint(const eab_config *config) {
    eab_cell_result result;
    interrupted_story story = {0};
    unlink(path);
    cr_assert_eq(train_part("cpu", 8, NEVER, path, 1, config, &result, &story), EAB_INTERRUPTED);
    GString *bytes = fixture_read(folder, "checkpoints/fleet.ckpt");
    cr_assert(bytes, "no checkpoint");
    return bytes;
}

static void put(const char *bytes, size_t size) { fixture_write(folder, "checkpoints/fleet.ckpt", bytes, size); }

/* Trains with the file at `path`. Expects one line that contains `part` and the result of training without it. */
static void expect_refused(const eab_config *config, const eab_cell_result *whole, const char *part, const char *what) {
    eab_cell_result result;
    interrupted_story story = {0};
    cr_assert_eq(train_part("cpu", 0, NEVER, path, 1, config, &result, &story), EAB_OK, "%s", what);
    cr_expect_eq(story.notes, 1, "%s: %d lines", what, story.notes);
    cr_expect(strstr(story.note, part), "%s: %s", what, story.note);
    cr_expect(!strchr(story.note, '\n') && strstr(story.note, "fleet.ckpt"), "%s: %s", what, story.note);
    expect_same_bits(&result, whole, what);
    free_curves(&result, 1);
}

Test(checkpoint, damaged_files_are_refused) {
    eab_config config = tiny_config();
    eab_cell_result whole;
    train_whole("cpu", 1, &config, &whole);
    GString *bytes = make_checkpoint(&config);
    static const double cuts[] = {0, 0.0005, 0.01, 0.3, 0.9, 0.999};
    for (size_t i = 0; i < G_N_ELEMENTS(cuts); i++) {
        put(bytes->str, (gsize)(cuts[i] * (double)bytes->len));
        expect_refused(&config, &whole, "", "cut off");
    }
    for (gsize place = 0; place < bytes->len; place += 1 + bytes->len / 97) {
        GString *flipped = g_string_new_len(bytes->str, (gssize)bytes->len);
        flipped->str[place] ^= (char)(1 << place % 8);
        put(flipped->str, flipped->len);
        expect_refused(&config, &whole, "", "a flipped bit");
        g_string_free(flipped, TRUE);
    }
    g_string_append(bytes, "more");
    put(bytes->str, bytes->len);
    expect_refused(&config, &whole, "longer than written", "longer");
    put("hello\n", 6);
    expect_refused(&config, &whole, "cut off", "a text");
    unlink(path);
    cr_assert_eq(mkdir(path, 0777), 0);
    expect_refused(&config, &whole, "not a regular file", "a folder");
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(mkfifo(path, 0666), 0);
    expect_refused(&config, &whole, "not a regular file", "a pipe");
    unlink(path);
    char *other = g_build_filename(folder, "other", NULL);
    fixture_write(folder, "other", bytes->str, bytes->len - 4);
    cr_assert_eq(symlink(other, path), 0);
    expect_refused(&config, &whole, "symbolic link", "a link");
    g_free(other);
    g_string_free(bytes, TRUE);
    free_curves(&whole, 1);
}

/* Writes the checkpoint with another number at `place`, and with the checksum of that. */
static void forge(const GString *bytes, size_t place, int32_t number) {
    GString *forged = g_string_new_len(bytes->str, (gssize)bytes->len);
    memcpy(forged->str + place, &number, sizeof number);
    const size_t end = forged->len - sizeof(uint64_t); /* the checksum, and before it the file's size */
    const uint64_t sum = eab_checksum(0, forged->str, end - sizeof(int64_t));
    memcpy(forged->str + end, &sum, sizeof sum);
    put(forged->str, forged->len);
    g_string_free(forged, TRUE);
}

/* Files whose checksum is right and whose numbers are not end in a line, and never in a crash. */
Test(checkpoint, forged_files_do_no_harm) {
    /* Places in the file of one cell, which has no curve yet: of the head, of the cell's result and of the member. */
    enum { HEAD = 112, MEMBER_COUNT = HEAD + 24, STEP = HEAD + 32, RESULT = HEAD + 104 + 16 };
    enum { MEMBER = RESULT + sizeof(eab_cell_result) };
    static const int32_t members[] = {-1, 0, 2, 300, INT32_MAX}, steps[] = {-1, 1000000, 30};
    eab_config config = tiny_config();
    eab_cell_result whole, result, stored;
    interrupted_story story = {0};
    train_whole("cpu", 1, &config, &whole);
    GString *bytes = make_checkpoint(&config);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        forge(bytes, MEMBER_COUNT, members[i]);
        expect_refused(&config, &whole, "of no fleet", "another number of members");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        forge(bytes, STEP, steps[i]);
        expect_refused(&config, &whole, "of a step that its cells do not have", "another step");
    }
    memcpy(&stored, bytes->str + RESULT, sizeof stored);
    cr_assert_eq(stored.status, EAB_CELL_FAIL); /* while it is in training */
    cr_assert_eq(stored.curve_points, 0);
    const struct {
        size_t place;
        int32_t number;
        const char *message;
    } late[] = {{RESULT, 77, "unknown status"},
                {RESULT + offsetof(eab_cell_result, curve_points), -1, "cut off in a curve"},
                {RESULT + offsetof(eab_cell_result, curve_points), INT32_MAX, "cut off in a curve"},
                {MEMBER, -1, "members that are not its cells"},
                {MEMBER, 1, "members that are not its cells"}};
    for (size_t i = 0; i < G_N_ELEMENTS(late); i++) {
        forge(bytes, late[i].place, late[i].number);
        cr_expect_eq(train_part("cpu", 0, NEVER, path, 1, &config, &result, &story), EAB_IO, "%zu", i);
        cr_expect(strstr(eab_last_error(), late[i].message), "%s", eab_last_error());
    }
    forge(bytes, RESULT + offsetof(eab_cell_result, curve), 12345); /* a pointer */
    cr_expect_eq(train_part("cpu", 0, NEVER, path, 1, &config, &result, &story), EAB_OK);
    expect_same_bits(&result, &whole, "another pointer");
    free_curves(&result, 1);
    free_curves(&whole, 1);
    g_string_free(bytes, TRUE);
}

/* eab_checkpoint_cells does not check the checksum: for any value of a byte it returns ids or one line, and it reads
 * nothing outside its buffers (the sanitizers check this). */
Test(checkpoint, ids_of_damaged_files_do_no_harm) {
    eab_config config = tiny_config();
    GString *bytes = make_checkpoint(&config);
    static const unsigned char values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    int refused = 0;
    for (gsize place = 0; place < 300; place++)
        for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
            const char before = bytes->str[place];
            char **ids;
            bytes->str[place] = (char)values[i];
            put(bytes->str, bytes->len);
            bytes->str[place] = before;
            const int status = eab_checkpoint_cells(path, &ids, NULL);
            cr_assert(status ? status == EAB_BAD_INPUT && !ids : ids && ids[0], "byte %zu: %d", place, status);
            refused += status != EAB_OK;
            g_strfreev(ids);
        }
    cr_expect_gt(refused, 200, "%d were refused", refused);
    g_string_free(bytes, TRUE);
}

Test(checkpoint, checkpoints_of_others_are_refused) {
    eab_config config = tiny_config(), other = tiny_config();
    eab_cell_result whole;
    train_whole("cpu", 1, &config, &whole);
    other.seed = 99;
    g_string_free(make_checkpoint(&other), TRUE);
    expect_refused(&config, &whole, "of other cells", "another seed");
    other = tiny_config();
    other.d_model = 8;
    g_string_free(make_checkpoint(&other), TRUE);
    expect_refused(&config, &whole, "of other cells", "another width");

    GString *bytes = make_checkpoint(&config);
    bytes->str[8]++; /* the format's number, after 8 bytes of name */
    put(bytes->str, bytes->len);
    expect_refused(&config, &whole, "format 3, this program reads 2", "another format");
    bytes->str[8]--;
    bytes->str[12]++;
    put(bytes->str, bytes->len);
    expect_refused(&config, &whole, "from another build of eabench", "another build");
    g_string_free(bytes, TRUE);

    eab_cell_result result, reference;
    interrupted_story story = {0};
    g_string_free(make_checkpoint(&config), TRUE);
    train_whole("reference", 1, &config, &reference);
    cr_assert_eq(train_part("reference", 0, NEVER, path, 1, &config, &result, &story), EAB_OK);
    cr_expect(story.notes == 1 && strstr(story.note, "from another backend"), "%s", story.note);
    expect_same_bits(&result, &reference, "from another backend");
    free_curves(&result, 1);
    free_curves(&reference, 1);
    free_curves(&whole, 1);
}

/* Errors of writing are reported; training continues. */
Test(checkpoint, write_errors_are_reported) {
    eab_config config = tiny_config();
    eab_cell_result whole, result;
    interrupted_story story = {0};
    train_whole("cpu", 1, &config, &whole);
    fixture_write(folder, "checkpoints", "a file", 6);
    cr_assert_eq(train_part("cpu", 0, 1e-9, path, 1, &config, &result, &story), EAB_OK);
    cr_expect_gt(story.notes, 0);
    cr_expect(strstr(story.note, "checkpoints"), "%s", story.note);
    expect_same_bits(&result, &whole, "without checkpoints");
    free_curves(&result, 1);
    free_curves(&whole, 1);
}

/* ---- the checksum ------------------------------------------------------------------------------------------- */

Test(checkpoint, the_checksum_depends_on_every_bit) {
    unsigned char bytes[77] = {0};
    const uint64_t before = eab_checksum(0, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        const uint64_t sum = eab_checksum(eab_checksum(0, bytes, 64), bytes + 64, sizeof bytes - 64);
        cr_expect_neq(sum, before, "bit %zu", bit);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

/* ---- a run's checkpoints ------------------------------------------------------------------------------------ */

Test(checkpoint, a_run_finds_the_fleets_that_were_in_training) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_cell_result results[4];
    interrupted_story story = {0};
    int64_t todo[4] = {0, 1, 2, 3};
    bool *done = g_new0(bool, plan.count);
    cr_assert_geq(plan.count, 4);
    eab_config configs[2] = {plan.cells[1].config, plan.cells[3].config};
    char *own = eab_run_checkpoint_path(folder, &plan.cells[1]);
    cr_assert_eq(train_part("cpu", 3, NEVER, own, 2, configs, results, &story), EAB_INTERRUPTED);
    fixture_write(folder, "checkpoints/nonsense.ckpt", "nonsense", 8);

    GArray *fleets = eab_run_checkpoints_find(folder, &plan, todo, 4, done);
    cr_assert_eq(fleets->len, 1);
    const eab_fleet *fleet = &g_array_index(fleets, eab_fleet, 0);
    cr_assert_eq(fleet->members, 2);
    cr_expect(fleet->indices[0] == 1 && fleet->indices[1] == 3);
    GArray *made = eab_fleets_make(fleets, plan.cells, todo, 4, 8, NULL);
    int32_t cells = 0;
    for (guint i = 0; i < made->len; i++) cells += g_array_index(made, eab_fleet, i).members;
    cr_expect_eq(cells, 4);
    cr_expect_eq(g_array_index(made, eab_fleet, 0).indices[1], 3);
    eab_fleets_free(made);
    eab_fleets_free(fleets);

    /* The result of cell 1 is stored: the rest resumes under the name of cell 3. */
    const int64_t left[3] = {0, 2, 3};
    done[1] = true;
    fleets = eab_run_checkpoints_find(folder, &plan, left, 3, done);
    cr_assert_eq(fleets->len, 1);
    cr_expect_eq(g_array_index(fleets, eab_fleet, 0).members, 1);
    cr_expect_eq(g_array_index(fleets, eab_fleet, 0).indices[0], 3);
    char *renamed = eab_run_checkpoint_path(folder, &plan.cells[3]);
    cr_expect_eq(access(renamed, F_OK), 0);
    cr_expect_neq(access(own, F_OK), 0);
    eab_fleets_free(fleets);

    eab_run_checkpoints_remove(folder);
    char *place = g_build_filename(folder, "checkpoints", NULL);
    cr_expect_neq(access(place, F_OK), 0);
    g_free(place);
    g_free(renamed);
    g_free(own);
    g_free(done);
    eab_plan_free(&plan);
}

/* The steps of the checkpoint of the fleet with this first cell; -1: none. */
static int64_t steps_of(const eab_plan *plan, int64_t cell) {
    char *own = eab_run_checkpoint_path(folder, &plan->cells[cell]), **ids;
    int64_t steps = -1;
    cr_assert_eq(eab_checkpoint_cells(own, &ids, &steps), EAB_OK);
    g_strfreev(ids);
    g_free(own);
    return steps;
}

/* A sweep of one cell, which is stopped some steps later, or ends. Returns the steps of its checkpoint. */
static int64_t sweep_one(const eab_plan *plan, int64_t chosen, int calls, bool *done) {
    eab_config config = plan->cells[chosen].config;
    eab_cell_result result;
    interrupted_story story = {0};
    char *own = eab_run_checkpoint_path(folder, &plan->cells[chosen]);
    GArray *fleets = eab_run_checkpoints_find(folder, plan, &chosen, 1, done);
    cr_assert_eq(fleets->len, 1);
    cr_expect_eq(g_array_index(fleets, eab_fleet, 0).indices[0], chosen);
    eab_fleets_free(fleets);
    if (calls) cr_assert_eq(train_part("cpu", calls, NEVER, own, 1, &config, &result, &story), EAB_INTERRUPTED);
    else cr_assert_eq(unlink(own), 0); /* as when the cell's rows are stored */
    done[chosen] = !calls;
    g_free(own);
    return steps_of(plan, chosen);
}

static void expect_kept(const eab_plan *plan, int64_t first, int64_t second, int calls) {
    eab_cell_result results[3];
    interrupted_story story = {0};
    bool done[4] = {false};
    eab_config configs[3] = {plan->cells[1].config, plan->cells[2].config, plan->cells[3].config};
    char *own = eab_run_checkpoint_path(folder, &plan->cells[1]);
    cr_assert_eq(train_part("cpu", 3, NEVER, own, 3, configs, results, &story), EAB_INTERRUPTED);
    int64_t steps[4] = {-1}, todo[3], count = 0;
    steps[6 - first - second] = steps_of(plan, 1);
    steps[first] = sweep_one(plan, first, calls, done);
    steps[second] = sweep_one(plan, second, 6, done);
    cr_assert(steps[second] > steps[6 - first - second] && steps[6 - first - second] > 0);
    for (int64_t cell = 1; cell <= 3; cell++)
        if (!done[cell]) todo[count++] = cell;
    GArray *fleets = eab_run_checkpoints_find(folder, plan, todo, count, done);
    cr_expect_eq(fleets->len, (guint)count);
    for (int64_t cell = 1; cell <= 3; cell++)
        cr_expect_eq(steps_of(plan, cell), steps[cell], "%d, then %d; cell %d has %d steps, not %d", (int)first,
                     (int)second, (int)cell, (int)steps_of(plan, cell), (int)steps[cell]);
    eab_fleets_free(fleets);
    eab_run_checkpoints_remove(folder);
    g_free(own);
}

/* Sweeps of some of a fleet's cells (--cells) leave the others their checkpoint, whether they end or are stopped; and a
 * sweep of all takes the most advanced one of each cell. */
Test(checkpoint, cells_that_are_not_chosen_keep_their_checkpoint) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    cr_assert_geq(plan.count, 4);
    for (int64_t first = 1; first <= 3; first++)
        for (int64_t second = 1; second <= 3; second++)
            for (int calls = 0; calls <= 4 && second != first; calls += 4) expect_kept(&plan, first, second, calls);
    eab_plan_free(&plan);
}
