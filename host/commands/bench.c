/* eabench bench: checks the options, makes the plan, runs it. */
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "base/duration.h"
#include "base/suggest.h"
#include "bench/operation.h"
#include "bench/session.h"

typedef struct {
    char *axes[EAB_AXIS_COUNT], **sets, **rest, *out, *backend, *tag, *cache, *max_time;
    gint device, min_samples;
    gdouble precision;
    double max_seconds;
    gboolean samples, resume;
} arguments;

enum { LARGEST_SAMPLES = 1000000, LARGEST_DEVICE = 1023 };

/* The part of --help below the options. */
static char *describe(void) {
    GString *text = g_string_new(
        "A LIST is values between commas (dpa, ea) or, of numbers, a range: a:b, a:b:+step, a:b:*factor.\n"
        "Rows are the product of the axes; an operation without a given axis is left out.\n" EAB_DURATION_HELP "\n");
    g_string_append_printf(text, "\n  %-15s %s\n", "axis", "allowed");
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++) {
        char allowed[200];
        eab_option_allowed(&eab_bench_axes[axis], allowed, sizeof allowed);
        g_string_append_printf(text, "  %-15s %s\n", eab_bench_axes[axis].key, allowed);
    }
    g_string_append_printf(text, "\n  %-15s %-30s\n", "operation", "implementations");
    for (int op = 0; op < EAB_BENCH_OP_COUNT; op++) {
        const eab_bench_operation *operation = eab_bench_operation_at(op);
        char words[100];
        eab_bench_list_implementations(operation, words, sizeof words);
        g_string_append_printf(text, "  %-15s %-30s %s\n", operation->name, words, operation->summary);
    }
    g_string_append(text,
                    "\nExit codes: 0 done; 1 rows failed (an error over its bound, a fault); 2 bad input; 3 the "
                    "environment lacks\nsomething, or no row was measured; 130 interrupted, finished rows are kept. "
                    "docs/benchmarks.md explains\nevery column.");
    return g_string_free(text, FALSE);
}

/* Returns an exit code, or -1 to continue. */
static int parse(arguments *a, int argc, char **argv) {
    const GOptionEntry others[] = {
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->sets, "an option of the models measured; may be repeated",
         "SECTION.KEY=LIST"},
        {"tag", 0, 0, G_OPTION_ARG_FILENAME, &a->tag, "which cases: default, quick, models, long, gpu", "NAME"},
        {"cache", 0, 0, G_OPTION_ARG_FILENAME, &a->cache,
         "cold: no call finds its operands in a cache; warm: it may (default: cold)", "WORD"},
        {"backend", 0, 0, G_OPTION_ARG_FILENAME, &a->backend, "auto, cpu, cuda or reference (default: auto)", "NAME"},
        {"device", 0, 0, G_OPTION_ARG_INT, &a->device, "index of the device (default: 0)", "N"},
        {"out", 0, 0, G_OPTION_ARG_FILENAME, &a->out,
         "folder whose kernels.csv gets the rows (default: rows are only printed)", "DIR"},
        {"resume", 0, 0, G_OPTION_ARG_NONE, &a->resume, "skip the rows that DIR/kernels.csv has", NULL},
        {"precision", 0, 0, G_OPTION_ARG_DOUBLE, &a->precision,
         "sample until the median's relative standard error is this (default: 0.005)", "SHARE"},
        {"min-samples", 0, 0, G_OPTION_ARG_INT, &a->min_samples, "at least this many samples (default: 10)", "N"},
        {"max-seconds", 0, 0, G_OPTION_ARG_FILENAME, &a->max_time, "at most this time a row (default: 1)", "TIME"},
        {"samples", 0, 0, G_OPTION_ARG_NONE, &a->samples, "keep every sample, in DIR/samples.csv", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->rest, NULL, NULL},
        {0},
    };
    GOptionEntry entries[EAB_AXIS_COUNT + G_N_ELEMENTS(others)];
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        entries[axis] = (GOptionEntry){eab_bench_axes[axis].key,  0,     0, G_OPTION_ARG_FILENAME, &a->axes[axis],
                                       eab_bench_axes[axis].help, "LIST"};
    memcpy(entries + EAB_AXIS_COUNT, others, sizeof others);
    char *description = describe();
    const int code = eab_command_parse("bench", "- speed of the kernels, beside that of other implementations",
                                       description, entries, argc, argv);
    g_free(description);
    return code;
}

static int check(arguments *a) {
    const char *const caches[] = {"cold", "warm", NULL};
    char shown[80];
    if (a->rest)
        return eab_fail(EAB_BAD_INPUT, "%s: takes no argument; options are allowed, see eabench bench --help",
                        eab_excerpt(a->rest[0], 60, shown, sizeof shown));
    if (a->cache && !g_strv_contains(caches, a->cache))
        return eab_fail(EAB_BAD_INPUT, "--cache is '%s'; cold, warm are allowed; nearest: %s",
                        eab_excerpt(a->cache, 40, shown, sizeof shown), eab_suggest(a->cache, caches));
    if (a->out && !*a->out) return eab_fail(EAB_BAD_INPUT, "--out is empty; the name of a folder is allowed");
    if (!a->out && a->samples) return eab_fail(EAB_BAD_INPUT, "--samples needs --out DIR");
    if (!a->out && a->resume) return eab_fail(EAB_BAD_INPUT, "--resume needs --out DIR");
    if (a->device < 0 || a->device > LARGEST_DEVICE)
        return eab_fail(EAB_BAD_INPUT, "--device is %d; 0..%d is allowed", a->device, LARGEST_DEVICE);
    if (a->min_samples < 1 || a->min_samples > LARGEST_SAMPLES)
        return eab_fail(EAB_BAD_INPUT, "--min-samples is %d; 1..%d is allowed", a->min_samples, LARGEST_SAMPLES);
    if (!(a->precision > 0 && a->precision <= 1)) /* NAN fails, too */
        return eab_fail(EAB_BAD_INPUT, "--precision is %g; a share above 0, at most 1, is allowed", a->precision);
    return eab_command_read_time("max-seconds", a->max_time, NULL, &a->max_seconds);
}

/* The request as the manifest keeps it. */
static char *print_request(const arguments *a) {
    GString *text = g_string_new("[bench]\n");
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        if (a->axes[axis]) g_string_append_printf(text, "%s = %s\n", eab_bench_axes[axis].key, a->axes[axis]);
    for (char **set = a->sets; set && *set; set++) g_string_append_printf(text, "set = %s\n", *set);
    g_string_append_printf(text, "tag = %s\ncache = %s\nprecision = %g\nmin-samples = %d\nmax-seconds = %g\n",
                           a->tag ? a->tag : "default", a->cache ? a->cache : "cold", a->precision, a->min_samples,
                           a->max_seconds);
    return g_string_free(text, FALSE);
}

static int run(arguments *a, int argc, char **argv) {
    eab_bench_request request = {.tag = a->tag, .sets = (const char *const *)a->sets};
    eab_bench_plan plan;
    int failed, status = check(a);
    if (status) return eab_command_error("bench", status);
    if (!eab_command_backend_is_known("bench", a->backend)) return EAB_EXIT_BAD_INPUT;
    request.backend = eab_command_resolve_backend("bench", a->backend);
    for (int axis = 0; axis < EAB_AXIS_COUNT && !status; axis++)
        if (a->axes[axis]) status = eab_bench_request_axis(&request, axis, a->axes[axis]);
    if (!status) status = eab_bench_plan_make(&request, &plan);
    eab_bench_request_free(&request);
    if (status) return eab_command_error("bench", status);
    char *resolved = print_request(a), *command = eab_command_quote("eabench", argc, argv);
    const eab_bench bench = {
        .backend = request.backend,
        .device = a->device,
        .out = a->out,
        .cold = !a->cache || strcmp(a->cache, "cold") == 0,
        .samples = a->samples,
        .resume = a->resume,
        .rule = {.precision = a->precision, .min_samples = a->min_samples, .max_s = a->max_seconds},
        .resolved = resolved,
        .command = command};
    status = eab_bench_run(&bench, &plan, &failed);
    eab_bench_plan_free(&plan);
    g_free(resolved);
    g_free(command);
    if (status == EAB_INTERRUPTED) return EAB_EXIT_INTERRUPTED;
    if (status) return eab_command_error("bench", status);
    return failed ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
}

int eab_command_bench(int argc, char **argv) {
    arguments a = {.precision = 0.005, .min_samples = 10, .max_seconds = 1};
    int code = parse(&a, argc, argv);
    if (code < 0) code = run(&a, argc, argv);
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++) g_free(a.axes[axis]);
    g_strfreev(a.sets);
    g_strfreev(a.rest);
    g_free(a.out);
    g_free(a.backend);
    g_free(a.tag);
    g_free(a.cache);
    g_free(a.max_time);
    return code;
}
