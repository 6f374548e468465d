#include "results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/summary.h"

int64_t eab_results_failures(const eab_sweep_session *session, const eab_run_summary *summary) {
    return summary->failed - (session->search ? summary->timeouts : 0);
}

void eab_results_print(const eab_sweep_session *session, const eab_run_summary *summary) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=";
    const eab_sweep *sweep = session->sweep;
    const int64_t failed = eab_results_failures(session, summary);
    eab_summary_print(stdout, session->plan, session->folder);
    if (session->search) {
        putchar('\n');
        eab_search_print(stdout, session->search);
    }
    printf("\n%lld of %lld cells are done", (long long)summary->done, (long long)session->plan->count);
    if (summary->diverged) printf(", %lld of them diverged", (long long)summary->diverged);
    if (session->search && summary->timeouts) printf("; %lld abandoned", (long long)summary->timeouts);
    if (failed) printf("; %lld failed", (long long)failed);
    printf("\ntables  %s/accuracy.csv, throughput.csv%s%s\n", sweep->out, sweep->save_curves ? ", curves.csv" : "",
           sweep->save_geometry ? ", geometry.csv" : "");
    char *quoted = g_shell_quote(sweep->out);
    printf("report  scripts/report %s\n", sweep->out[strspn(sweep->out, plain)] ? quoted : sweep->out);
    g_free(quoted);
}

/* ---- the profile ------------------------------------------------------------------------------------------------- */

static void print_line(const eab_profile *profile, const char *name, eab_profile_row row) {
    char calls[32] = "", rate[32] = "";
    if (row.calls > 0) snprintf(calls, sizeof calls, "%lld", (long long)row.calls);
    if (row.flop > 0 && row.seconds > 0) snprintf(rate, sizeof rate, "%.1f", row.flop / row.seconds * 1e-9);
    printf("%-26s %12s %10.3f %7.2f %9s\n", name, calls, row.seconds, 100 * row.seconds / profile->seconds, rate);
}

static eab_profile_row sum_rows(const eab_profile_row *rows) {
    eab_profile_row sum = {0};
    for (int i = 0; i < EAB_PROFILE_ROWS; i++) {
        sum.seconds += rows[i].seconds;
        sum.flop += rows[i].flop;
    }
    return sum;
}

typedef struct {
    eab_profile_operation operation;
    double seconds;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *left = a, *right = b;
    if (left->seconds > right->seconds || left->seconds < right->seconds)
        return left->seconds > right->seconds ? -1 : 1;
    return (int)left->operation - (int)right->operation;
}

void eab_results_print_profile(const eab_profile *profile) {
    const eab_profile_row *rows = profile->rows[EAB_PROFILE_TRAINING];
    const eab_profile_row training = sum_rows(rows), evaluation = sum_rows(profile->rows[EAB_PROFILE_EVALUATION]);
    const eab_profile_row own = {.seconds = profile->seconds - training.seconds - evaluation.seconds};
    entry order[EAB_PROFILE_ROWS];
    for (int i = 0; i < EAB_PROFILE_ROWS; i++) order[i] = (entry){(eab_profile_operation)i, rows[i].seconds};
    qsort(order, EAB_PROFILE_ROWS, sizeof order[0], compare_entries);

    printf("\n%-26s %12s %10s %7s %9s\n", "profile of the workers", "calls", "seconds", "share %", "GFLOP/s");
    for (int i = 0; i < EAB_PROFILE_ROWS; i++)
        if (rows[order[i].operation].calls > 0)
            print_line(profile, eab_profile_name(order[i].operation), rows[order[i].operation]);
    print_line(profile, "training", training);
    print_line(profile, "evaluation", evaluation);
    print_line(profile, "the sweep's own", own);
    if (profile->checkpoints.calls) print_line(profile, "  of it checkpoints", profile->checkpoints);
    print_line(profile, "all", (eab_profile_row){.seconds = profile->seconds});
}
