#include <glib.h>
#include <stdio.h>

#include "../kernels/mechanism.h"
#include "check.h"
#include "commands.h"
#include "suggest.h"

typedef struct {
    bool all;
    int checks;
} check_printer;

static void print_header(void) {
    printf("%-21s %-11s %4s %5s %7s %7s %5s %5s  %9s %9s %6s %5s\n", "operation", "mechanism", "memb", "batch",
           "context", "d_model", "heads", "vocab", "error", "plain", "ratio", "bound");
}

static void print_check(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                        const eab_check_result *result) {
    check_printer *printer = context;
    printer->checks++;
    if (result->passed && !printer->all) return;
    printf("%-21s %-11s %4d %5d %7d %7d %5d %5d  %9.2e %9.2e %6.2f %5g%s%s\n", operation->name,
           operation->by_mechanism ? eab_mechanism_name(shape->mechanism) : "-", shape->members, shape->batch,
           shape->context, shape->d_model, shape->heads, shape->vocab, result->error, result->plain_error,
           result->error_ratio, result->bound, result->passed ? "" : "  MISS: ", result->reason);
}

int eab_command_check(int argc, char **argv) {
    gchar *name = NULL;
    gboolean failures_only = FALSE;
    gint index = 0;
    GOptionEntry entries[] = {
        {"backend", 0, 0, G_OPTION_ARG_STRING, &name, "What to check (default: cpu)", "NAME"},
        {"device", 0, 0, G_OPTION_ARG_INT, &index, "Which of its devices (default: 0)", "N"},
        {"failures", 0, 0, G_OPTION_ARG_NONE, &failures_only, "Print only the rows that miss their bound", NULL},
        {0}};
    GError *error = NULL;
    GOptionContext *context = g_option_context_new("- every operation against the float64 reference");
    g_option_context_set_description(
        context, "error, plain: distance from float64, relative, of this backend and of a plain float32 program; "
                 "ratio: the one over the other\n(the latter at least float32's rounding). A ratio over its bound is a "
                 "miss: exit code 1.");
    g_option_context_add_main_entries(context, entries, NULL);
    const gboolean parsed = g_option_context_parse(context, &argc, &argv, &error);
    g_option_context_free(context);
    if (!parsed || argc > 1) {
        if (parsed) fprintf(stderr, "eabench check: takes no argument such as '%s'\n", argv[1]);
        else fprintf(stderr, "eabench check: %s\n", error->message);
        g_clear_error(&error);
        g_free(name);
        return EAB_EXIT_BAD_INPUT;
    }
    if (name && !eab_backend_from_name(name)) {
        const char *const names[] = {"cpu", "cuda", "reference", NULL};
        char shown[64];
        fprintf(stderr, "eabench check: --backend is '%s'; cpu, cuda, reference are allowed; nearest: %s\n",
                eab_excerpt(name, 40, shown, sizeof shown), eab_suggest(name, names));
        g_free(name);
        return EAB_EXIT_BAD_INPUT;
    }
    eab_device *device;
    int failed, status = eab_device_open(name ? name : "cpu", index, &device);
    g_free(name);
    if (status) return eab_command_error("check", status);
    check_printer printer = {.all = !failures_only};
    char description[256];
    device->backend->describe(device, description, sizeof description);
    printf("%s: %s\n", device->backend->name, description);
    print_header();
    status = eab_check_all(device, print_check, &printer, &failed);
    eab_device_close(device);
    if (status) return eab_command_error("check", status);
    printf("%d checks, %d missed\n", printer.checks, failed);
    return failed ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
}
