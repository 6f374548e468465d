/* eabench trace: its options, checked, and the cell that they name. */
#include <glib.h>
#include <stdio.h>

#include "arguments.h"
#include "base/suggest.h"
#include "plan/cells.h"
#include "trace.h"

typedef struct {
    char **specs, **sets, *out, *backend;
    gint device;
    gint64 steps;
    gboolean help;
} arguments;

static const char *const option_names[] = {"set", "steps", "out", "backend", "device", "help", NULL};

static GOptionContext *make_context(arguments *a) {
    const GOptionEntry entries[] = {
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->sets, "replace or add an option of the spec; may be repeated",
         "SECTION.KEY=VALUE"},
        {"steps", 0, 0, G_OPTION_ARG_INT64, &a->steps, "how many training steps (default: 3)", "N"},
        {"out", 0, 0, G_OPTION_ARG_FILENAME, &a->out, "a new or empty folder", "DIR"},
        {"backend", 0, 0, G_OPTION_ARG_FILENAME, &a->backend, "cpu, cuda or reference (default: cpu)", "NAME"},
        {"device", 0, 0, G_OPTION_ARG_INT, &a->device, "index of the device (default: 0)", "N"},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &a->help, "show this", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->specs, NULL, "SPEC.ini"},
        {0},
    };
    GOptionContext *context = g_option_context_new("- the first training steps of a cell, tensor by tensor");
    g_option_context_set_description(
        context, "The spec has one cell: --set gives an axis one value. Into DIR go, for each step S from 0:\n"
                 "  weights-S.safetensors    the weights before it, as --save-models writes them\n"
                 "  batch-S.safetensors      inputs, targets (negative: not determined), loss_nats, lr\n"
                 "  gradients-S.safetensors  the gradient before clipping, named as the weights\n"
                 "and the weights after the last step. float32; float64 with --backend reference.");
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, entries, NULL);
    return context;
}

/* The exit code, or -1 where all is well. */
static int check(const arguments *a) {
    char shown[80];
    static const char *const backends[] = {"cpu", "cuda", "reference", NULL};
    if (!a->specs) fprintf(stderr, "eabench trace: no spec; usage: eabench trace SPEC.ini --out DIR, see --help\n");
    else if (a->specs[1])
        fprintf(stderr, "eabench trace: %s: a second spec; one is allowed\n",
                eab_excerpt(a->specs[1], 60, shown, sizeof shown));
    else if (!a->out || !*a->out) fprintf(stderr, "eabench trace: no --out; a new or empty folder is allowed\n");
    else if (!g_strv_contains(backends, a->backend))
        fprintf(stderr, "eabench trace: --backend is '%s'; cpu, cuda, reference are allowed; nearest: %s\n",
                eab_excerpt(a->backend, 40, shown, sizeof shown), eab_suggest(a->backend, backends));
    else if (a->device < 0 || a->device > 1023)
        fprintf(stderr, "eabench trace: --device is %d; 0..1023 is allowed\n", a->device);
    else if (a->steps < 1 || a->steps > EAB_TRACE_MAX_STEPS)
        fprintf(stderr, "eabench trace: --steps is %" G_GINT64_FORMAT "; 1..%d is allowed\n", a->steps,
                EAB_TRACE_MAX_STEPS);
    else return -1;
    return EAB_EXIT_BAD_INPUT;
}

static int refuse_plan(const char *spec, const eab_plan *plan) {
    char shown[80];
    fprintf(stderr,
            "eabench trace: %s: %" G_GINT64_FORMAT " cells; one is allowed: give each axis one value by --set\n",
            eab_excerpt(spec, 60, shown, sizeof shown), plan->count);
    return EAB_EXIT_BAD_INPUT;
}

static int refuse_steps(const arguments *a, const eab_config *config) {
    fprintf(stderr, "eabench trace: --steps is %" G_GINT64_FORMAT "; the cell has steps = %" G_GINT64_FORMAT "\n",
            a->steps, config->steps);
    return EAB_EXIT_BAD_INPUT;
}

static int trace_cell(const arguments *a, const eab_config *config) {
    eab_device *device;
    int status = eab_device_open(a->backend, a->device, &device);
    if (status) return eab_command_error("trace", status);
    status = eab_trace_write(device, config, a->steps, a->out);
    eab_device_close(device);
    if (status) return eab_command_error("trace", status);
    char shown[160];
    printf("%s: %" G_GINT64_FORMAT " steps\n", eab_excerpt(a->out, 120, shown, sizeof shown), a->steps);
    return EAB_EXIT_DONE;
}

static int trace_spec(const arguments *a) {
    eab_plan plan;
    const int status = eab_plan_load(a->specs[0], (const char *const *)a->sets, &plan);
    if (status) return eab_command_error("trace", status);
    int code;
    if (plan.count != 1) code = refuse_plan(a->specs[0], &plan);
    else if (a->steps > plan.cells[0].config.steps) code = refuse_steps(a, &plan.cells[0].config);
    else code = trace_cell(a, &plan.cells[0].config);
    eab_plan_free(&plan);
    return code;
}

int eab_command_trace(int argc, char **argv) {
    arguments a = {.steps = 3};
    int code = eab_command_parse("trace", make_context(&a), argc, argv, option_names, &a.help);
    if (!a.backend) a.backend = g_strdup("cpu");
    if (code < 0) code = check(&a);
    if (code < 0) code = trace_spec(&a);
    g_strfreev(a.specs);
    g_strfreev(a.sets);
    g_free(a.out);
    g_free(a.backend);
    return code;
}
