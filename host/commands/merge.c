/* eabench merge: makes one run of the shards that several sweeps filled. */
#include <glib.h>
#include <stdio.h>

#include "arguments.h"
#include "base/suggest.h"
#include "run/merge.h"

static int merge_run(const char *run, const char *out, const char *command) {
    eab_merge_counts counts;
    const int status = eab_merge(run, out, command, &counts);
    if (status) return eab_command_error("merge", status);
    const int64_t done = counts.run.done, failed = counts.run.failed, missing = counts.cells - done - failed;
    printf("%lld of %lld cells are done", (long long)done, (long long)counts.cells);
    if (counts.run.diverged) printf(", %lld of them diverged", (long long)counts.run.diverged);
    if (failed) printf("; %lld failed", (long long)failed);
    if (missing) printf("; %lld missing", (long long)missing);
    printf("; %lld added\ntables  %s/accuracy.csv, throughput.csv\n", (long long)counts.added, out);
    return failed || missing ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
}

static int check(char **runs, const char *out) {
    char shown[80];
    if (!runs || runs[1])
        return eab_fail(EAB_BAD_INPUT, "%s; usage: eabench merge RUN [--out DIR]",
                        runs ? eab_excerpt(runs[1], 60, shown, sizeof shown) : "no run");
    if (out && !*out) return eab_fail(EAB_BAD_INPUT, "--out is empty; the name of a folder is allowed");
    return EAB_OK;
}

int eab_command_merge(int argc, char **argv) {
    char **runs = NULL, *out = NULL;
    const GOptionEntry entries[] = {
        {"out", 0, 0, G_OPTION_ARG_FILENAME, &out,
         "the merged run's folder (default: RUN itself); cells that are there stay", "DIR"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &runs, NULL, "RUN"},
        {0},
    };
    int code = eab_command_parse("merge", "- make one run of the shards that eabench sweep --shard filled in RUN", NULL,
                                 entries, argc, argv);
    if (code < 0 && check(runs, out)) code = eab_command_error("merge", EAB_BAD_INPUT);
    if (code < 0) {
        char *command = eab_command_quote("eabench", argc, argv);
        code = merge_run(runs[0], out ? out : runs[0], command);
        g_free(command);
    }
    g_strfreev(runs);
    g_free(out);
    return code;
}
