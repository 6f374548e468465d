#include "profile_print.h"

#include <stdlib.h>

static void print_line(FILE *file, const eab_profile *profile, const char *name, eab_profile_row row) {
    char calls[32] = "", rate[32] = "";
    if (row.calls > 0) snprintf(calls, sizeof calls, "%lld", (long long)row.calls);
    if (row.flop > 0 && row.seconds > 0) snprintf(rate, sizeof rate, "%.1f", row.flop / row.seconds * 1e-9);
    fprintf(file, "%-26s %12s %10.3f %7.2f %9s\n", name, calls, row.seconds, 100 * row.seconds / profile->seconds,
            rate);
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

void eab_profile_print(FILE *file, const eab_profile *profile) {
    const eab_profile_row *rows = profile->rows[EAB_PROFILE_TRAINING];
    const eab_profile_row training = sum_rows(rows), evaluation = sum_rows(profile->rows[EAB_PROFILE_EVALUATION]);
    const eab_profile_row own = {.seconds = profile->seconds - training.seconds - evaluation.seconds};
    entry order[EAB_PROFILE_ROWS];
    for (int i = 0; i < EAB_PROFILE_ROWS; i++) order[i] = (entry){(eab_profile_operation)i, rows[i].seconds};
    qsort(order, EAB_PROFILE_ROWS, sizeof order[0], compare_entries);

    fprintf(file, "\n%-26s %12s %10s %7s %9s\n", "profile of the workers", "calls", "seconds", "share %", "GFLOP/s");
    for (int i = 0; i < EAB_PROFILE_ROWS; i++)
        if (rows[order[i].operation].calls > 0)
            print_line(file, profile, eab_profile_name(order[i].operation), rows[order[i].operation]);
    print_line(file, profile, "training", training);
    print_line(file, profile, "evaluation", evaluation);
    print_line(file, profile, "the sweep's own", own);
    if (profile->checkpoints.calls) print_line(file, profile, "  of it checkpoints", profile->checkpoints);
    print_line(file, profile, "all", (eab_profile_row){.seconds = profile->seconds});
}
