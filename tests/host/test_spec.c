#include <fcntl.h>
#include <glib.h>
#include <sys/stat.h>

#include "host/spec/file.h"
#include "spec_text.h"

#define TASK "[task recurrence]\n"
#define MECHANISMS "dpa, ea, ea-scaled, ea-softmax, ea-parallel, square, ea-quartic, sigmoid, mix"
#define FAMILIES                                                                                          \
    "recurrence, task_switch, delay_copy, recall, modular, parity, selective_copy, induction, distance, " \
    "flip_flop, counting, group, congruential, noisy_recall, compression, text, mixture"

/* Spec files and their whole error messages, in which the file is called SPEC. */
static const struct {
    const char *text, *error;
} bad[] = {
    {"\n# only a comment\n", "SPEC: no task section; allowed: at least one, such as [task recurrence]"},
    {"[model]\n", "SPEC: no task section; allowed: at least one, such as [task recurrence]"},
    {"[environment]\nx = 1\n", "SPEC: no task section; allowed: at least one, such as [task recurrence]"},
    {"lr = 1\n", "SPEC:1: lr: a key before the first section; allowed: [task ...], [model] or [train] above it"},
    {TASK "basis\n", "SPEC:2: basis: no key and value; allowed: key = value, [section], # comment"},
    {TASK "[train\n", "SPEC:2: [train: no section; allowed: [section] alone on its line"},
    {TASK "[train] lr = 1\n", "SPEC:2: [train] lr = 1: no section; allowed: [section] alone on its line"},
    {TASK "[]\n", "SPEC:2: []: unknown section; nearest: model; allowed: model, train, environment, task FAMILY"},
    {TASK "[Train]\n",
     "SPEC:2: [Train]: unknown section; nearest: train; allowed: model, train, environment, task FAMILY"},
    {"[taks recurrence]\n",
     "SPEC:1: [taks recurrence]: unknown section; nearest: task recurrence; allowed: model, train, "
     "environment, task FAMILY"},
    {"[task]\n", "SPEC:1: [task]: unknown task family ''; nearest: text; allowed: " FAMILIES},
    {"[task recurence low]\n",
     "SPEC:1: [task recurence low]: unknown task family 'recurence'; nearest: recurrence; allowed: " FAMILIES},
    {"[task recurrence lo=w]\n",
     "SPEC:1: [task recurrence lo=w]: a label of other characters; allowed: letters, digits, space, _ - + ."},
    {TASK TASK, "SPEC:2: [task recurrence]: the section is on line 1 already; allowed: once, or with another label"},
    {TASK "[train]\n[model]\n[ train ]\n", "SPEC:4: [train]: the section is on line 2 already; allowed: once"},
    {TASK "[train]\nlr = 1\nseed = 1\nlr = 2\n", "SPEC:5: [train] lr = 2: the key is on line 3 already; allowed: once"},
    {TASK "basis = 4\nbasis = 4\n", "SPEC:3: [task recurrence] basis = 4: the key is on line 2 already; allowed: once"},
    {TASK "dealy = 4\n",
     "SPEC:2: [task recurrence] dealy = 4: unknown key in [task recurrence]; nearest: delay; allowed: "
     "basis, delay, a, b, rule, table_seed"},
    {TASK "lr = 4\n",
     "SPEC:2: [task recurrence] lr = 4: unknown key in [task recurrence]; it belongs into [train]; allowed: "
     "basis, delay, a, b, rule, table_seed"},
    {TASK "[model]\nbasis = 4\n",
     "SPEC:3: [model] basis = 4: unknown key in [model]; it belongs into [task ...]; allowed: layers, d_model, heads, "
     "mlp_ratio, context, position, alibi_span, norm, activation, bias, embedding, init_scale, embedding_scale, "
     "qk_init, "
     "qk_norm"},
    {TASK "[model]\nhaeds = 4\n",
     "SPEC:3: [model] haeds = 4: unknown key in [model]; nearest: heads; allowed: layers, d_model, heads, mlp_ratio, "
     "context, "
     "position, alibi_span, norm, activation, bias, embedding, init_scale, embedding_scale, qk_init, "
     "qk_norm"},
    {TASK "= 4\n",
     "SPEC:2: [task recurrence]  = 4: unknown key in [task recurrence]; nearest: a; allowed: basis, delay, a, b, "
     "rule, table_seed"},
    {TASK "basis[de] = 4\n",
     "SPEC:2: [task recurrence] basis[de] = 4: unknown key in [task recurrence]; nearest: basis; "
     "allowed: basis, delay, a, b, rule, table_seed"},
    {TASK "[train]\nlr[eaa] = 1\n",
     "SPEC:3: [train] lr[eaa] = 1: unknown mechanism 'eaa'; nearest: ea; allowed: " MECHANISMS},
    {TASK "[train]\nlr[] = 1\n", "SPEC:3: [train] lr[] = 1: unknown mechanism ''; nearest: ea; allowed: " MECHANISMS},
    {TASK "[train]\nmechanism[ea] = ea\n",
     "SPEC:3: [train] mechanism[ea] = ea: the mechanism has one list for all; allowed: mechanism = ..."},
    {TASK "[train]\nlr[ea] = 1\nlr[ ea ] = 2\n",
     "SPEC:4: [train] lr[ ea ] = 2: the key is on line 3 already; allowed: once"},
    {TASK "[train]\nlr[ea] = 1\n",
     "SPEC:3: [train] lr[ea]: the sweep's mechanisms are others; nearest: dpa; allowed: dpa"},
    {TASK "[model]\nqk_init[ea-scaled] = 1\n[train]\nmechanism = dpa, ea, dpa\n",
     "SPEC:3: [model] qk_init[ea-scaled]: the sweep's mechanisms are others; nearest: ea; allowed: dpa, ea"},
    {TASK "[train]\nmechanism = dpa\nlr = 1\nlr[ea] = 1\n",
     "SPEC:5: [train] lr[ea]: the sweep's mechanisms are others; nearest: dpa; allowed: dpa"},
    {TASK "[train]\nlr[dpa] = 0\n", "SPEC:3: [train] lr[dpa] = 0: out of bounds; allowed: a real above 0, at most 10"},
    {TASK "basis =\n", "SPEC:2: [task recurrence] basis = : no value; allowed: an integer 2..1024"},
    {TASK "basis = # to do\n", "SPEC:2: [task recurrence] basis = : no value; allowed: an integer 2..1024"},
    {TASK "basis = 4#8\n", "SPEC:2: [task recurrence] basis = 4#8: not a number; allowed: an integer 2..1024"},
    {TASK "basis = 4, , 8\n", "SPEC:2: [task recurrence] basis = 4, , 8: empty item; allowed: an integer 2..1024"},
    {TASK "basis = 8:4\n",
     "SPEC:2: [task recurrence] basis = 8:4: the range runs the wrong way; allowed: an integer 2..1024"},
    {TASK "basis = 99999999999999999999\n",
     "SPEC:2: [task recurrence] basis = 99999999999999999999: too large; allowed: an integer 2..1024"},
    {TASK "basis = \xc2\xa0"
          "4\n",
     "SPEC:2: [task recurrence] basis = \xc2\xa0"
     "4: not a number; allowed: an integer 2..1024"},
    {TASK "[train]\nlr = 1e-x\n", "SPEC:3: [train] lr = 1e-x: not a number; allowed: a real above 0, at most 10"},
    {TASK "[train]\nlr = 1e-2, nan\n",
     "SPEC:3: [train] lr = 1e-2, nan: nan: not a number; allowed: a real above 0, at most 10"},
    {TASK "[train]\nmechanism = dpa, ae\n",
     "SPEC:3: [train] mechanism = dpa, ae: ae: no such choice; nearest: ea; allowed: " MECHANISMS},
    {TASK "[train]\nlr\x01 = 1\n", "SPEC:3: lr\\x01 = 1: a control character; allowed: text"},
    {TASK "[model]\rheads = 4\r", "SPEC:2: [model]\\x0Dheads = 4: a control character; allowed: text"},
    {TASK "delay = 24\n",
     "SPEC: [task recurrence] basis=8 delay=24: delay = 24 leaves nothing to predict in context = 24; allowed: 1..23"},
    {TASK "basis = 4\nb = 4\n", "SPEC: [task recurrence] basis=4 delay=4 b=4: b = 4; allowed: 0..3 (basis - 1)"},
    {TASK "[model]\nd_model = 32, 30\n",
     "SPEC: [model] d_model = 30, heads = 4: d_model is no multiple of heads; allowed: 28 or 32, for example"},
    {TASK "[model]\nposition = rope\nd_model = 20\n",
     "SPEC: [model] position = rope, d_model = 20, heads = 4: head_dim = 5 is odd; allowed: an even head_dim, or "
     "position = "
     "learned, alibi, none"},
    {TASK "[train]\nseed = 1:1000000\nwarmup = 0:9\n",
     "SPEC: too many cells: 1 level * 1000000 seed * 10 warmup = 1e+07; allowed: at most 1000000"},
    {TASK "[train]\nseed = 1:1000001\n",
     "SPEC:3: [train] seed = 1:1000001: 1000001 values, where 1000000 are the most; "
     "allowed: an integer 0..4294967295"},
};

Test(spec, mistakes_in_the_file) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        eab_plan plan;
        char error[1024];
        cr_expect_eq(load_text(bad[i].text, NULL, &plan, error), EAB_BAD_INPUT, "%s", bad[i].text);
        cr_expect_str_eq(error, bad[i].error, "got %s", error);
        cr_expect_null(plan.cells);
    }
}

static const struct {
    const char *set, *error;
} bad_sets[] = {
    {"", "--set : no =; allowed: section.key=value, such as train.lr=1e-2,2e-2"},
    {"train.lr", "--set train.lr: no =; allowed: section.key=value, such as train.lr=1e-2,2e-2"},
    {"lr=1", "--set lr=1: no section; allowed: section.key=value, such as train.lr=1e-2,2e-2"},
    {"trian.lr=1",
     "--set trian.lr=1: no such section in the spec; nearest: train; allowed: task, task recurrence low, task "
     "recurrence high, model, train"},
    {"task recurrence lwo.basis=4",
     "--set task recurrence lwo.basis=4: no such section in the spec; nearest: task recurrence "
     "low; allowed: task, task recurrence low, task recurrence high, model, train"},
    {"environment.cpu=x",
     "--set environment.cpu=x: no such section in the spec; nearest: model; allowed: task, task recurrence "
     "low, task recurrence high, model, train"},
    {"train.lr=1e-x", "--set train.lr=1e-x: not a number; allowed: a real above 0, at most 10"},
    {"train.lr=", "--set train.lr=: no value; allowed: a real above 0, at most 10"},
    {"train.lr=1;", "--set train.lr=1;: not a number; allowed: a real above 0, at most 10"},
    {"task.lr=1",
     "--set task.lr=1: unknown key in [task recurrence low]; it belongs into [train]; allowed: basis, delay, a, b, "
     "rule, table_seed"},
    {"task.basis=1", "--set task.basis=1: out of bounds; allowed: an integer 2..1024"},
    {"train.lr[ea]=1", "SPEC: [train] lr[ea]: the sweep's mechanisms are others; nearest: dpa; allowed: dpa"},
    {"train.lr[ae]=1", "--set train.lr[ae]=1: unknown mechanism 'ae'; nearest: ea; allowed: " MECHANISMS},
    {"task.basis[dpa]=4",
     "--set task.basis[dpa]=4: unknown key in [task recurrence low]; nearest: basis; allowed: basis, delay, a, b, "
     "rule, table_seed"},
    {"train.lr\n=x", "--set train.lr\\x0A=x: not a number; allowed: a real above 0, at most 10"},
    {"train.lr=\xff", "--set train.lr=\\xFF: not UTF-8; allowed: section.key=value"},
};

Test(spec, mistakes_in_sets) {
    for (size_t i = 0; i < sizeof bad_sets / sizeof *bad_sets; i++) {
        eab_plan plan;
        char error[1024];
        const char *const sets[] = {"train.lr=1", bad_sets[i].set, NULL};
        cr_expect_eq(load_text("[task recurrence low]\n[task recurrence high]\nbasis = 16\n", sets, &plan, error),
                     EAB_BAD_INPUT, "%s", bad_sets[i].set);
        cr_expect_str_eq(error, bad_sets[i].error, "got %s", error);
    }
}

/* ---- files that are not text --------------------------------------------------------------------------------- */

static void expect_bytes_refused(const char *bytes, size_t size, const char *error) {
    char path[64];
    eab_spec spec;
    write_bytes(bytes, size, path);
    cr_expect_eq(eab_spec_read(path, NULL, &spec), EAB_BAD_INPUT);
    cr_expect_null(spec.sections);
    const char *line = eab_last_error();
    cr_expect(strncmp(line, path, strlen(path)) == 0, "%s", line);
    cr_expect_str_eq(line + strlen(path), error, "got %s", line);
    unlink(path);
}

static const char allowed[] = "; allowed: a readable file of INI text, UTF-8, at most 1 MiB";

static void expect_path_refused(const char *path, const char *what) {
    char error[512];
    eab_spec spec;
    cr_expect_eq(eab_spec_read(path, NULL, &spec), EAB_BAD_INPUT);
    snprintf(error, sizeof error, "%s: %s%s", path, what, allowed);
    cr_expect_str_eq(eab_last_error(), error, "got %s", eab_last_error());
}

Test(spec, bytes_that_are_not_text) {
#define ALLOWED "; allowed: a readable file of INI text, UTF-8, at most 1 MiB"
    expect_bytes_refused("", 0, ": empty file" ALLOWED);
    expect_bytes_refused("[train]\nlr\0 = 1\n", 16, ": a NUL byte on line 2" ALLOWED);
    expect_bytes_refused("\0", 1, ": a NUL byte on line 1" ALLOWED);
    expect_bytes_refused("[train]\n\nlr = \xc3\x28\n", 17, ": bytes that are not UTF-8 on line 3" ALLOWED);
    expect_bytes_refused("\xff\xfe[\xff", 4, ": bytes that are not UTF-8 on line 1" ALLOWED);
    expect_bytes_refused("\x7f"
                         "ELF\x02\x01\x01\0\0\0",
                         10, ": a NUL byte on line 1" ALLOWED);
    expect_bytes_refused("# \xf4\x90\x80\x80\n", 7, ": bytes that are not UTF-8 on line 1" ALLOWED);
    char *big = calloc(1, EAB_SPEC_MAX_BYTES + 1);
    memset(big, '#', EAB_SPEC_MAX_BYTES + 1);
    expect_bytes_refused(big, EAB_SPEC_MAX_BYTES + 1, ": larger than 1 MiB" ALLOWED);
    free(big);
}

#define LAST "\n[task parity]\n"

Test(spec, the_largest_allowed_file_is_read) {
    char path[64], *big = malloc(EAB_SPEC_MAX_BYTES);
    eab_spec spec;
    memset(big, '#', EAB_SPEC_MAX_BYTES);
    memcpy(big, TASK, strlen(TASK));
    memcpy(big + EAB_SPEC_MAX_BYTES - strlen(LAST), LAST, strlen(LAST));
    write_bytes(big, EAB_SPEC_MAX_BYTES, path);
    cr_assert_eq(eab_spec_read(path, NULL, &spec), EAB_OK, "%s", eab_last_error());
    cr_expect_eq(spec.sections->len, 4); /* with [model] and [train] */
    eab_spec_free(&spec);
    free(big);
    unlink(path);
}

Test(spec, paths_that_are_not_files, .timeout = 20) {
    char folder[] = "/tmp/eab-folder-XXXXXX";
    cr_assert_neq(mkdtemp(folder), NULL);
    expect_path_refused(folder, "a directory");
    rmdir(folder);
    expect_path_refused(folder, "No such file or directory");
    expect_path_refused("", "No such file or directory");
    expect_path_refused("/dev/null/x.ini", "Not a directory");
    expect_path_refused("/dev/zero", "larger than 1 MiB");
    expect_path_refused("/dev/null", "empty file");
    char loop[] = "/tmp/eab-loop-XXXXXX";
    cr_assert_neq(mkdtemp(loop), NULL);
    rmdir(loop);
    cr_assert_eq(symlink(loop, loop), 0);
    expect_path_refused(loop, "Too many levels of symbolic links");
    unlink(loop);
    if (geteuid() != 0) { /* root may read everything */
        char path[64];
        write_bytes("x", 1, path);
        chmod(path, 0);
        expect_path_refused(path, "Permission denied");
        unlink(path);
    }
}

Test(spec, errors_stay_one_line) {
    char path[1200];
    eab_spec spec;
    memset(path, 'x', sizeof path);
    memcpy(path, "/tmp/no\nsuch\033[31m/", 18);
    path[sizeof path - 1] = '\0';
    cr_expect_eq(eab_spec_read(path, NULL, &spec), EAB_BAD_INPUT);
    cr_expect_null(strchr(eab_last_error(), '\n'));
    cr_expect_null(strchr(eab_last_error(), '\033'));
    cr_expect(strstr(eab_last_error(), allowed), "what is allowed is not cut off: %s", eab_last_error());
}

/* ---- correct specs ------------------------------------------------------------------------------------------- */

static int64_t count_cells(const char *text, const char *const *sets) {
    eab_plan plan;
    char error[1024];
    cr_assert_eq(load_text(text, sets, &plan, error), EAB_OK, "%s: %s", text, error);
    const int64_t count = plan.count;
    eab_plan_free(&plan);
    return count;
}

Test(spec, spellings) {
    cr_expect_eq(count_cells(TASK, NULL), 1);
    cr_expect_eq(count_cells("[task recurrence]", NULL), 1);
    cr_expect_eq(count_cells("\xEF\xBB\xBF" TASK, NULL), 1);
    cr_expect_eq(count_cells("[task recurrence]\r\nbasis = 4, 8\r\n", NULL), 2);
    cr_expect_eq(count_cells("  [ task   recurrence\tlow end ]  # comment\n\tbasis=4 ; two\n;c\n #c\n", NULL), 1);
    cr_expect_eq(count_cells(TASK "basis = 4, 8 # , 16\n", NULL), 2);
    cr_expect_eq(count_cells(TASK "# gr\xc3\xb6\xc3\x9f"
                                  "er\n",
                             NULL),
                 1);
    cr_expect_eq(
        count_cells("[environment]\nlr = x\nlr = x\n\x01 ?\n[task recurrence]\n[environment]\nfree text\n", NULL), 1);
}

Test(spec, sets_replace_and_add) {
    static const char text[] = "[task recurrence low]\nbasis = 4, 8\n[task recurrence v1.5]\nbasis = 16\n";
    const char *const all[] = {"task.basis=4,8,16", NULL}, *const one[] = {"task recurrence low.basis=4:6", NULL},
                      *const dotted[] = {" task  recurrence v1.5 . basis = 3, 4", NULL},
                      *const later_wins[] = {"task.basis=2:9", "task recurrence low.basis=4", "train.seed=1:3",
                                             "train.seed=5", NULL},
                      *const other[] = {"train.lr=1e-2,2e-2", "model.d_model=16:64:*2", "task.a=1,2", NULL};
    cr_expect_eq(count_cells(text, NULL), 3);
    cr_expect_eq(count_cells(text, all), 3); /* both sections list the same three levels */
    cr_expect_eq(count_cells(text, one), 4);
    cr_expect_eq(count_cells(text, dotted), 3); /* 4 is also in the other section */
    cr_expect_eq(count_cells(text, later_wins), 8);
    cr_expect_eq(count_cells(text, other), 36);
}

/* GLib reads a printed spec as a key file. */
Test(spec, written_specs_are_key_files) {
    const char *const sets[] = {"train.seed=1:150", "train.lr=1e-3:1:*10", NULL};
    eab_plan plan;
    char error[1024];
    cr_assert_eq(load_text(TASK "basis = 4, 8\n", sets, &plan, error), EAB_OK, "%s", error);
    GKeyFile *file = g_key_file_new();
    cr_assert(g_key_file_load_from_data(file, plan.resolved, strlen(plan.resolved), G_KEY_FILE_NONE, NULL));
    char *value = g_key_file_get_string(file, "train", "seed", NULL);
    cr_expect_str_eq(value, "1:150:+1");
    g_free(value);
    value = g_key_file_get_string(file, "train", "lr", NULL);
    cr_expect_str_eq(value, "0.001, 0.01, 0.1, 1");
    g_free(value);
    for (int i = 0; i < eab_option_count; i++)
        cr_expect(g_key_file_has_key(file, eab_options[i].section, eab_options[i].key, NULL), "%s", eab_options[i].key);
    g_key_file_free(file);
    eab_plan_free(&plan);
}
