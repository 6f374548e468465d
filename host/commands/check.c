#include <glib.h>
#include <stdio.h>

#include "arguments.h"
#include "base/suggest.h"
#include "check/suite.h"
#include "kernels/mechanism.h"

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

typedef struct {
    gchar *backend, *operations, **rest;
    gint device;
    gboolean failures_only;
} arguments;

/* Returns an exit code, or -1 to continue. */
static int parse(arguments *a, int argc, char **argv) {
    const GOptionEntry entries[] = {
        {"backend", 0, 0, G_OPTION_ARG_FILENAME, &a->backend, "what to check (default: cpu)", "NAME"},
        {"device", 0, 0, G_OPTION_ARG_INT, &a->device, "which of its devices (default: 0)", "N"},
        {"op", 0, 0, G_OPTION_ARG_FILENAME, &a->operations, "only these operations, between commas (default: all)",
         "NAME[,NAME]..."},
        {"failures", 0, 0, G_OPTION_ARG_NONE, &a->failures_only, "print only the rows that miss their bound", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->rest, NULL, NULL},
        {0}};
    return eab_command_parse(
        "check", "- every operation against the float64 reference",
        "error, plain: relative distance from float64, of this backend and of a plain float32 program. ratio: the "
        "first over\nthe second, which counts as at least float32's rounding. A ratio over its bound is a miss, and so "
        "is an operation\nthat cannot be run: exit code 1.",
        entries, argc, argv);
}

/* Refuses a list of names, between commas, unless all are operations. */
static int check_names(const char *names) {
    enum { MOST = 96 };
    const char *known[MOST + 1] = {NULL};
    char **words = g_strsplit(names, ",", -1), shown[80];
    int status = EAB_OK;
    for (int i = 0; i < MOST && eab_check_operation_at(i); i++) known[i] = eab_check_operation_at(i)->name;
    if (!*words) status = eab_fail(EAB_BAD_INPUT, "--op names no operation; nearest: %s", known[0]);
    for (int i = 0; words[i] && !status; i++)
        if (!eab_check_operation_from_name(words[i]))
            status = eab_fail(EAB_BAD_INPUT, "--op names '%s', which is not an operation; nearest: %s",
                              eab_excerpt(words[i], 40, shown, sizeof shown), eab_suggest(words[i], known));
    g_strfreev(words);
    return status;
}

static int check_arguments(const arguments *a, const char *backend) {
    const char *const names[] = {"cpu", "cuda", "reference", NULL};
    char shown[80];
    if (a->rest)
        return eab_fail(EAB_BAD_INPUT, "takes no argument such as '%s'",
                        eab_excerpt(a->rest[0], 60, shown, sizeof shown));
    if (!eab_backend_from_name(backend))
        return eab_fail(EAB_BAD_INPUT, "--backend is '%s'; cpu, cuda, reference are allowed; nearest: %s",
                        eab_excerpt(backend, 40, shown, sizeof shown), eab_suggest(backend, names));
    return a->operations ? check_names(a->operations) : EAB_OK;
}

static int run(const arguments *a) {
    const char *backend = a->backend ? a->backend : "cpu";
    check_printer printer = {.all = !a->failures_only};
    char description[256];
    eab_device *device;
    int failed, status = check_arguments(a, backend);
    if (!status) status = eab_device_open(backend, a->device, &device);
    if (status) return eab_command_error("check", status);
    setvbuf(stdout, NULL, _IOLBF, 0); /* so that a killed run has printed every finished row */
    device->backend->describe(device, description, sizeof description);
    printf("%s: %s\n", device->backend->name, description);
    print_header();
    status = eab_check_all(&device, a->operations, print_check, &printer, &failed);
    eab_device_close(device); /* NULL after an unrecoverable fault */
    if (!status && !printer.checks)
        status = eab_fail(EAB_BAD_INPUT, "--op %s: no operation of the backend %s; another --backend is allowed",
                          a->operations, backend);
    if (status) return eab_command_error("check", status);
    printf("%d checks, %d missed\n", printer.checks, failed);
    return failed ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
}

int eab_command_check(int argc, char **argv) {
    arguments a = {.backend = NULL};
    int code = parse(&a, argc, argv);
    if (code < 0) code = run(&a);
    g_free(a.backend);
    g_free(a.operations);
    g_strfreev(a.rest);
    return code;
}
