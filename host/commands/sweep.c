/* eabench sweep: checks its options and makes an eab_sweep of them. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "base/duration.h"
#include "base/log.h"
#include "base/suggest.h"
#include "base/system.h"
#include "check/device.h"
#include "kernels/cpu/isa.h"
#include "plan/choice.h"
#include "plan/shard.h"
#include "plan/validate.h"
#include "spec/file.h"
#include "spec/options.h"
#include "sweep/ranks.h"
#include "sweep/run.h"

enum { MAX_WORKERS = 4096, MAX_FLEET = 65536, NOT_GIVEN = INT_MIN };
static const double NO_TIME_LIMIT_S = 1e9 /* 31 years */, CHECKPOINT_EVERY_S = 600;
static const double RANK_TIMEOUT_S = 300, LEAST_RANK_TIMEOUT_S = 5; /* ranks report every second */

typedef struct {
    char **specs, **sets, *out, *backend, *time_limit, *checkpoint_every, *rank_timeout, *shard, *cells, *progress;
    gint device, fleet, workers;
    gboolean list, no_check;
    eab_shard part;
    eab_sweep sweep; /* what the options request */
} arguments;

/* Returns an exit code, or -1 to continue. */
static int parse(arguments *a, int argc, char **argv) {
    const GOptionEntry entries[] = {
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->sets, "replace or add an option of the spec; may be repeated",
         "SECTION.KEY=VALUE"},
        {"out", 0, 0, G_OPTION_ARG_FILENAME, &a->out,
         "the run's folder (default: runs/NAME of NAME.ini, runs/spec of a pipe); resumes what is there", "DIR"},
        {"backend", 0, 0, G_OPTION_ARG_FILENAME, &a->backend, "auto, cpu, cuda or reference (default: auto)", "NAME"},
        {"device", 0, 0, G_OPTION_ARG_INT, &a->device,
         "index of the device (default: 0; of several processes on a machine each its own)", "N"},
        {"no-check", 0, 0, G_OPTION_ARG_NONE, &a->no_check,
         "skip the check before the first use of a GPU by this program (seconds; kept in the cache folder)", NULL},
        {"fleet", 0, 0, G_OPTION_ARG_INT, &a->fleet,
         "cells trained together by one worker (default: 1; on a GPU what fills it)", "N"},
        {"workers", 0, 0, G_OPTION_ARG_INT, &a->workers,
         "worker threads of a process (default: its share of the cores; 1 on a GPU)", "N"},
        {"dry-run", 0, 0, G_OPTION_ARG_NONE, &a->sweep.dry_run,
         "show the cells, their cost and the time; write nothing", NULL},
        {"list", 0, 0, G_OPTION_ARG_NONE, &a->list,
         "with --dry-run: the cells that are not done, in the order of training, and their work, as CSV", NULL},
        {"shard", 0, 0, G_OPTION_ARG_FILENAME, &a->shard,
         "only the I-th of N parts, in DIR/shards/I-of-N; eabench merge makes one run of all", "I/N"},
        {"cells", 0, 0, G_OPTION_ARG_FILENAME, &a->cells,
         "only the cells whose ids are in FILE, one a line; the others are left to a later start; with --shard the "
         "part has these cells, not those of the split",
         "FILE"},
        {"time-limit", 0, 0, G_OPTION_ARG_FILENAME, &a->time_limit, "stop after this time, as an interrupt would",
         "TIME"},
        {"checkpoint-every", 0, 0, G_OPTION_ARG_FILENAME, &a->checkpoint_every,
         "how often to save the state of running cells, so that they resume after a crash (default: 10m, less often "
         "where that would take more than 0.1 % of the time; 0: never, not even when stopped)",
         "TIME"},
        {"rank-timeout", 0, 0, G_OPTION_ARG_FILENAME, &a->rank_timeout,
         "with mpirun: a process that is silent for this time is lost, however long its cells are (default: 5m; 0: "
         "never)",
         "TIME"},
        {"progress", 0, 0, G_OPTION_ARG_FILENAME, &a->progress,
         "on stderr: auto (a live line on a terminal, else lines), line, json (an object a line), off (default: auto)",
         "KIND"},
        {"search", 0, 0, G_OPTION_ARG_NONE, &a->sweep.search,
         "instead of every cell, bisect each ladder for the hardest level that half of the seeds solve", NULL},
        {"save-models", 0, 0, G_OPTION_ARG_NONE, &a->sweep.save_models, "keep trained models, in DIR/models", NULL},
        {"save-curves", 0, 0, G_OPTION_ARG_NONE, &a->sweep.save_curves, "keep learning curves, in DIR/curves.csv",
         NULL},
        {"save-geometry", 0, 0, G_OPTION_ARG_NONE, &a->sweep.save_geometry,
         "keep angles, entropies and norms of attention, in DIR/geometry.csv and DIR/geometry", NULL},
        {"profile", 0, 0, G_OPTION_ARG_NONE, &a->sweep.profile, "show the time of each operation", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->specs, NULL, "SPEC.ini|-"},
        {0},
    };
    const int code = eab_command_parse("sweep", "- train the cells of a spec; leaves tables that resume",
                                       EAB_DURATION_HELP, entries, argc, argv);
    if (code == EAB_EXIT_DONE) { /* the help was printed */
        puts("Options of a spec, in its file or by --set; a list (4, 8) or range (a:b, a:b:+step, a:b:*factor) makes\n"
             "an axis; KEY[MECHANISM] gives values for the cells of one mechanism:\n");
        eab_options_help(stdout);
    }
    return code;
}

/* Refuses precisions that the backend lacks before anything is written. */
static int check_support(const eab_sweep *sweep, const eab_plan *plan) {
    const eab_backend *backend = eab_backend_from_name(sweep->backend);
    for (int64_t i = 0; backend && i < plan->count; i++) {
        const eab_config *config = &plan->cells[i].config;
        char name[16];
        if (eab_backend_has_precision(backend, (eab_precision)config->precision)) continue;
        eab_option_print(eab_option_find("train", "precision"), config, name, sizeof name);
        return eab_fail(
            EAB_BAD_INPUT,
            "[train] precision = %s: the products of backend %s are in %s; allowed: float32, or --backend cuda", name,
            backend->name, backend->dtype);
    }
    return EAB_OK;
}

/* Refuses cells that do not fit in memory. On a CPU, limits the default number of workers to what fits: all workers of
 * all ranks of the machine share its memory. */
static int check_memory(const arguments *a, eab_sweep *sweep, const eab_plan *plan, eab_device *device) {
    double fitting;
    char shown[80];
    const int status = eab_plan_check_memory(plan, device, &fitting);
    if (status) return eab_fail_prefix(status, "%s: ", eab_excerpt(sweep->spec, 60, shown, sizeof shown));
    if (device->backend->capacity || a->workers != NOT_GIVEN) return EAB_OK;
    fitting /= (double)MIN(sweep->fleet, MAX(1, plan->count)) * MAX(1, sweep->place.node_count);
    sweep->workers = MAX(1, (int32_t)fmin(sweep->workers, fitting));
    return EAB_OK;
}

/* Describes the device, which also checks that it can be opened. */
static int describe_device(const arguments *a, eab_sweep *sweep, const eab_plan *plan) {
    eab_device *device;
    EAB_TRY(check_support(sweep, plan));
    EAB_TRY(eab_device_open(sweep->backend, sweep->device, &device));
    device->backend->describe(device, sweep->description, sizeof sweep->description);
    if (sweep->dry_run && !sweep->fleet && plan->count)
        sweep->fleet = (int32_t)MIN(plan->count, eab_preferred_fleet(device, &plan->cells[0].config));
    const int status = check_memory(a, sweep, plan, device);
    eab_device_close(device);
    EAB_TRY(status);
    eab_isa isa;
    if (strcmp(sweep->backend, "cpu") == 0 && eab_isa_choose(getenv("EAB_ISA"), &isa) == EAB_OK)
        g_strlcpy(sweep->isa, eab_isa_name(isa), sizeof sweep->isa);
    return EAB_OK;
}

static int check_range(const char *name, gint value, gint low, gint high) {
    if (value == NOT_GIVEN || (value >= low && value <= high)) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "--%s is %d; %d..%d is allowed", name, value, low, high);
}

/* Reads --time-limit, --checkpoint-every and --rank-timeout. */
static int check_times(arguments *a) {
    a->sweep.time_limit_s = NO_TIME_LIMIT_S;
    a->sweep.checkpoint_every_s = CHECKPOINT_EVERY_S;
    double *timeout_s = &a->sweep.rank_timeout_s;
    *timeout_s = RANK_TIMEOUT_S;
    EAB_TRY(eab_command_read_time("time-limit", a->time_limit, NULL, &a->sweep.time_limit_s));
    EAB_TRY(eab_command_read_time("checkpoint-every", a->checkpoint_every, "never", &a->sweep.checkpoint_every_s));
    EAB_TRY(eab_command_read_time("rank-timeout", a->rank_timeout, "never", timeout_s));
    if (*timeout_s > 0 && *timeout_s < LEAST_RANK_TIMEOUT_S)
        return eab_fail(EAB_BAD_INPUT, "--rank-timeout is '%s'; at least %.0f s, or 0, are allowed", a->rank_timeout,
                        LEAST_RANK_TIMEOUT_S);
    if (!(*timeout_s > 0)) *timeout_s = HUGE_VAL;
    return EAB_OK;
}

/* Reads --progress. */
static int check_progress(arguments *a) {
    static const char *const kinds[] = {"auto", "line", "json", "off", NULL}; /* in the order of eab_progress_kind */
    char shown[80];
    int kind = EAB_PROGRESS_AUTO;
    while (a->progress && kinds[kind] && strcmp(a->progress, kinds[kind]) != 0) kind++;
    a->sweep.progress = (eab_progress_kind)kind;
    eab_log_use_json(kind == EAB_PROGRESS_JSON);
    if (kinds[kind]) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "--progress is %s; nearest: %s; auto, line, json, off are allowed",
                    eab_excerpt(a->progress, 40, shown, sizeof shown), eab_suggest(a->progress, kinds));
}

/* Checks the options that need no spec. */
static int check(arguments *a) {
    char shown[80];
    if (!a->specs) return eab_fail(EAB_BAD_INPUT, "no spec; usage: eabench sweep SPEC.ini [OPTION]..., see --help");
    if (a->specs[1])
        return eab_fail(EAB_BAD_INPUT, "%s: a second spec; one is allowed",
                        eab_excerpt(a->specs[1], 60, shown, sizeof shown));
    if (a->out && !*a->out) return eab_fail(EAB_BAD_INPUT, "--out is empty; the name of a folder is allowed");
    EAB_TRY(check_range("device", a->device, 0, 1023));
    EAB_TRY(check_range("fleet", a->fleet, 1, MAX_FLEET));
    EAB_TRY(check_range("workers", a->workers, 1, MAX_WORKERS));
    if (a->shard && !eab_shard_read(a->shard, &a->part))
        return eab_fail(EAB_BAD_INPUT, "--shard is %s; I/N is allowed, such as 2/8: 1..N of 1..%d",
                        eab_excerpt(a->shard, 40, shown, sizeof shown), EAB_SHARD_MAX);
    if (a->shard && a->sweep.search)
        return eab_fail(EAB_BAD_INPUT, "--search with --shard: a search decides from earlier results which cells it "
                                       "needs; one of the two is allowed, or mpirun");
    if (a->cells && a->sweep.search)
        return eab_fail(EAB_BAD_INPUT, "--cells with --search, which chooses cells itself; one of the two is allowed");
    if (a->list && !a->sweep.dry_run)
        return eab_fail(EAB_BAD_INPUT, "--list without --dry-run; allowed: --dry-run --list");
    EAB_TRY(check_progress(a));
    return check_times(a);
}

/* Connects the processes that a launcher started, and divides a machine's devices or cores among its processes. Returns
 * an exit code, or -1 to continue. */
static int join_ranks(const arguments *a, const eab_launch *launch, eab_sweep *sweep) {
    const eab_backend *backend = eab_backend_from_name(sweep->backend);
    if (launch->tasks < 2 || a->shard) return -1;
    if (eab_spec_is_stream(sweep->spec)) {
        eab_fail(EAB_BAD_INPUT, "%s: several processes cannot read one pipe; a file is allowed", sweep->spec);
        return launch->rank == 0 ? eab_command_error("sweep", EAB_BAD_INPUT) : EAB_EXIT_BAD_INPUT;
    }
    if (a->sweep.dry_run) return launch->rank == 0 ? -1 : EAB_EXIT_DONE; /* the first one prints */
    const int status = eab_ranks_open(eab_system_core_hash(), &sweep->ranks, &sweep->place);
    if (status) return launch->rank == 0 ? eab_command_error("sweep", status) : eab_exit_code(status);
    const eab_ranks_place *place = &sweep->place;
    if (backend && backend->capacity && a->device == NOT_GIVEN && backend->count && backend->count() > 0)
        sweep->device = place->node_rank % backend->count();
    if (a->workers == NOT_GIVEN && !(backend && backend->capacity)) {
        const int cores = eab_system_cores();
        sweep->workers = MAX(1, cores / place->same_count + (place->same_rank < cores % place->same_count));
    }
    return -1;
}

static const char restart_variable[] = "EAB_SWEEP_RESTART";

/* "first:cells:fleet:seconds", the first three whole numbers. */
static bool read_restart(const char *text, double numbers[4]) {
    for (int i = 0; i < 4; i++) {
        char *end;
        numbers[i] = g_ascii_strtod(text, &end);
        if (end == text || *end != (i < 3 ? ':' : '\0') || !(numbers[i] >= 0)) return false;
        if (i < 3 && (numbers[i] > INT32_MAX || numbers[i] != floor(numbers[i]))) return false;
        text = end + 1;
    }
    return true;
}

/* Reads what restart_process() of the process before this one left in the environment. */
static int take_restart(eab_sweep *sweep, const eab_plan *plan) {
    const char *text = getenv(restart_variable);
    double numbers[4];
    if (!text) return EAB_OK;
    if (!read_restart(text, numbers) || (int64_t)numbers[0] >= plan->count || numbers[3] > NO_TIME_LIMIT_S)
        return eab_fail(EAB_BAD_INPUT, "%s is not what a sweep writes into it; unset is allowed", restart_variable);
    sweep->suspects =
        (eab_suspects){.first = (int64_t)numbers[0], .cells = (int32_t)numbers[1], .fleet = (int32_t)numbers[2]};
    sweep->elapsed_s = numbers[3];
    sweep->resumed = true;
    unsetenv(restart_variable);
    return EAB_OK;
}

/* Replaces this process by a new one with the same command; its id, output and parent stay. Returns only after an
 * error. */
static void restart_process(int argc, char **argv, const eab_sweep_restart *restart) {
    char **words = g_new0(char *, (gsize)argc + 2), text[80];
    g_snprintf(text, sizeof text, "%" PRId64 ":%d:%d:%.3f", restart->suspects.first, restart->suspects.cells,
               restart->suspects.fleet, restart->elapsed_s);
    words[0] = eab_system_program_name();
    for (int i = 0; i < argc; i++) words[i + 1] = argv[i];
    fflush(NULL);
    if (!setenv(restart_variable, text, 1)) execv(EAB_SYSTEM_PROGRAM, words);
    eab_log_error("sweep", "the program cannot be started again: %s; start the same command again", g_strerror(errno));
    g_free(words);
}

/* Sets the backend and the defaults that depend on it. */
static void use_backend(const arguments *a, const char *backend, eab_sweep *sweep) {
    const bool on_gpu = eab_backend_from_name(backend) && eab_backend_from_name(backend)->capacity;
    const int32_t workers = on_gpu ? 1 : MIN(MAX_WORKERS, eab_system_cores());
    sweep->backend = backend;
    sweep->device = a->device == NOT_GIVEN ? 0 : a->device;
    sweep->workers = a->workers == NOT_GIVEN ? workers : a->workers;
    sweep->fleet = a->fleet == NOT_GIVEN ? !on_gpu : a->fleet;
}

/* Checks a GPU before its first use. If it does not pass, --backend auto uses the cpu. Several processes end instead,
 * as they must all use one backend. */
static int check_first_use(const arguments *a, eab_sweep *sweep) {
    if (a->no_check || sweep->dry_run || !eab_device_check_is_due(sweep->backend, sweep->device)) return EAB_OK;
    eab_log_note("sweep", "the first sweep on this device begins with a check of some seconds (--no-check skips it)");
    const int status = eab_device_check(sweep->backend, sweep->device);
    if (status != EAB_NO_DEVICE || sweep->ranks || (a->backend && strcmp(a->backend, "auto") != 0)) return status;
    eab_log_note("sweep", "%s; the cpu is used", eab_last_error());
    use_backend(a, "cpu", sweep);
    return EAB_OK;
}

static int sweep_plan(const arguments *a, eab_sweep *sweep) {
    eab_plan plan;
    int status = eab_plan_load(sweep->spec, sweep->sets, &plan);
    if (status && sweep->ranks && sweep->place.rank > 0) return eab_sweep_follow(sweep, NULL, status);
    if (status) return eab_sweep_refuse(sweep, eab_command_error("sweep", status));
    sweep->out = a->out ? g_strdup(a->out) : g_build_filename("runs", plan.name, NULL);
    if (a->shard) {
        char *run = sweep->out;
        sweep->out = eab_shard_folder(run, a->part);
        if (!a->cells) eab_shard_take(&a->part, &plan);
        g_free(run);
    }
    int code;
    bool *chosen = NULL;
    status = a->cells ? eab_choice_read(a->cells, &plan, &chosen) : EAB_OK;
    sweep->chosen = chosen;
    if (!status) status = take_restart(sweep, &plan);
    if (!status) status = check_first_use(a, sweep);
    if (!status) status = describe_device(a, sweep, &plan);
    if (!status && sweep->dry_run) status = a->list ? eab_list_cells(sweep, &plan) : eab_dry_run(sweep, &plan);
    if (sweep->ranks && sweep->place.rank > 0) code = eab_sweep_follow(sweep, &plan, status);
    else if (status) code = eab_sweep_refuse(sweep, eab_command_error("sweep", status));
    else code = sweep->dry_run ? EAB_EXIT_DONE : eab_sweep_run(sweep, &plan);
    g_free(chosen);
    g_free(sweep->out);
    eab_plan_free(&plan);
    return code;
}

/* All processes have the same wrong arguments; only the first one reports them. */
static void ignore_line(void *context, const char *text) {
    (void)context;
    (void)text;
}

/* Whether --progress json is among the arguments: errors in the others are objects, too. */
static bool asks_for_json(int argc, char **argv) {
    bool json = false;
    for (int i = 1; i < argc; i++) {
        const bool apart = strcmp(argv[i], "--progress") == 0 && i + 1 < argc;
        if (apart || g_str_has_prefix(argv[i], "--progress="))
            json = strcmp(apart ? argv[i + 1] : argv[i] + strlen("--progress="), "json") == 0;
    }
    return json;
}

/* The command that resumes the sweep, for g_strfreev. A spec from a pipe cannot be read again: the command then names
 * the run's manifest and folder. Sets the default folder of such a run. */
static char **resume_words(arguments *a, int argc, char **argv) {
    const bool is_stream = eab_spec_is_stream(a->specs[0]), is_named = a->out;
    int place = argc - 1, count = 1;
    while (place > 0 && strcmp(argv[place], a->specs[0]) != 0) place--;
    if (is_stream && !is_named) a->out = g_build_filename("runs", "spec", NULL);
    char **words = g_new0(char *, (gsize)argc + 3);
    words[0] = g_strdup(argv[0]);
    if (is_stream && !is_named) {
        words[count++] = g_strdup("--out");
        words[count++] = g_strdup(a->out);
    }
    for (int i = 1; i < argc; i++) words[count++] = g_strdup(argv[i]);
    if (!is_stream) return words;
    char *folder = a->shard ? eab_shard_folder(a->out, a->part) : g_strdup(a->out),
         **spec = &words[count - argc + place];
    g_free(*spec);
    *spec = g_build_filename(folder, "manifest.ini", NULL);
    g_free(folder);
    return words;
}

/* Runs the sweep of checked arguments; returns the exit code. */
static int run(arguments *a, const eab_launch *launch, int argc, char **argv) {
    eab_sweep *sweep = &a->sweep;
    sweep->spec = a->specs[0];
    sweep->sets = (const char *const *)a->sets;
    use_backend(a, eab_command_resolve_backend("sweep", a->backend), sweep);
    sweep->checkpoint_adaptive = a->checkpoint_every == NULL;
    sweep->command = eab_command_quote("eabench", argc, argv);
    char **words = resume_words(a, argc, argv);
    sweep->resume_command = eab_command_quote(eab_system_program_name(), (int)g_strv_length(words), words);
    int code = join_ranks(a, launch, sweep);
    eab_sweep_restart restart = {0};
    if (!sweep->ranks) sweep->restart = &restart; /* other ranks would lose their leader */
    if (code < 0) code = sweep_plan(a, sweep);
    sweep->restart = NULL;
    if (restart.wanted) restart_process((int)g_strv_length(words), words, &restart);
    g_strfreev(words);
    g_free(sweep->command);
    g_free(sweep->resume_command);
    return code;
}

int eab_command_sweep(int argc, char **argv) {
    arguments a = {.device = NOT_GIVEN, .fleet = NOT_GIVEN, .workers = NOT_GIVEN};
    const eab_launch launch = eab_launch_detect();
    if (launch.rank > 0) eab_log_redirect(ignore_line, NULL);
    eab_log_use_json(asks_for_json(argc, argv));
    int code = parse(&a, argc, argv);
    if (code < 0 && !eab_command_backend_is_known("sweep", a.backend)) code = EAB_EXIT_BAD_INPUT;
    else if (code < 0 && check(&a)) code = eab_command_error("sweep", EAB_BAD_INPUT);
    if (code < 0) {
        if (a.shard) eab_log_redirect(NULL, NULL);
        code = run(&a, &launch, argc, argv);
    }
    g_strfreev(a.specs);
    g_strfreev(a.sets);
    g_free(a.out);
    g_free(a.backend);
    g_free(a.time_limit);
    g_free(a.checkpoint_every);
    g_free(a.rank_timeout);
    g_free(a.progress);
    g_free(a.shard);
    g_free(a.cells);
    return code;
}
