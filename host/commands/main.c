/* eabench: runs the command, and reports a standard output that cannot be written. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/suggest.h"
#include "base/version.h"
#include "commands.h"
#include "spec/options.h"

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *arguments, *summary;
} command_entry;

static const command_entry commands[] = {
    {"sweep", eab_command_sweep, "SPEC.ini [OPTION]...", "train the cells of a spec; leaves tables that resume"},
    {"status", eab_command_status, "RUN [--json]", "how far a run is, also while a sweep is running"},
    {"merge", eab_command_merge, "RUN [--out DIR]", "one run of the shards that sweep --shard wrote"},
    {"bench", eab_command_bench, "[OPTION]...", "speed of the kernels, beside that of other implementations"},
    {"check", eab_command_check, "[OPTION]...", "every operation against the float64 reference"},
    {"devices", eab_command_devices, "", "backends, their devices and measured peaks"},
    {"tasks", eab_command_tasks, "[NAME [OPTION]...]", "the task families and example sequences"},
    {"trace", eab_command_trace, "SPEC.ini [OPTION]...", "a cell's first steps, tensor by tensor, for other programs"},
    {"sample", eab_command_sample, "MODEL [OPTION]...", "continue a prompt with a model of --save-models"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_short_help(FILE *file) {
    fputs("usage: eabench COMMAND [ARGUMENT]...\n\n", file);
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(file, "  %-8s %-22s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    fputs("\neabench COMMAND --help shows a command's options, eabench --help those of a spec.\n", file);
}

static void print_help(FILE *file) {
    fputs("eabench: benchmark suite for expressive and dot-product attention\n", file);
    print_short_help(file);
    fputs("\nOptions of a spec, in its file or as --set section.key=value; a list (4, 8) or range (a:b, a:b:+step,\n"
          "a:b:*factor) makes an axis, and the sweep is the product of the axes:\n\n",
          file);
    eab_options_help(file);
    fputs("\nExit codes: 0 done; 1 a check failed or cells failed; 2 bad input; 3 the environment lacks something;\n"
          "130 interrupted, finished work is kept.\n",
          file);
}

static int refuse_command(const char *name) {
    const char *names[COMMAND_COUNT + 1] = {NULL};
    char allowed[128], shown[80];
    for (int i = 0; i < COMMAND_COUNT; i++) names[i] = commands[i].name;
    eab_join(names, allowed, sizeof allowed);
    eab_log_error("", "%s: unknown command; nearest: %s; allowed: %s, --help, --version",
                  eab_excerpt(name, 60, shown, sizeof shown), eab_suggest(name, names), allowed);
    return EAB_EXIT_BAD_INPUT;
}

/* Opens /dev/null for each closed standard stream. Otherwise a file that the program opens could get that stream's
 * number, and messages would be written into it. Standard output is opened for reading: writing to it fails, and that
 * is reported. */
static void open_missing_streams(void) {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) == -1 && errno == EBADF)
            if (open("/dev/null", stream == STDOUT_FILENO ? O_RDONLY : O_RDWR) != stream) _exit(EAB_EXIT_ENVIRONMENT);
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_short_help(stderr);
        return EAB_EXIT_BAD_INPUT;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return EAB_EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        const char *commit = eab_build_commit(); /* "" for a build outside of git */
        printf("eabench %s (%s)\n", eab_build_version(), *commit ? commit : "commit unknown");
        return EAB_EXIT_DONE;
    }
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    return refuse_command(argv[1]);
}

int main(int argc, char **argv) {
    open_missing_streams();
    eab_log_open();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error, reported below; a sweep continues */
    const int code = run(argc, argv);
    errno = 0;
    const int unwritten = ferror(stdout); /* an error before the flush: its errno may be lost */
    if (fflush(stdout) == 0 && !unwritten) return code;
    eab_log_error("", "standard output could not be written: %s", errno ? strerror(errno) : "write error");
    return code == EAB_EXIT_DONE ? EAB_EXIT_ENVIRONMENT : code;
}
