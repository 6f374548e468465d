/* The rows that a sweep's session makes of a result. */
#include <criterion/criterion.h>
#include <string.h>

#include "host/run/tables.h"
#include "host/sweep/session.h"
#include "sweep_fixture.h"

/* The fields of the row of throughput.csv of a cell that took train_s, where the peak was measured as 1e-6 GFLOP/s;
 * g_strfreev. */
static char **throughput_row(double train_s, eab_sweep_session *session, eab_cell_result *result) {
    static const eab_sweep sweep = {.backend = "cpu", .workers = 1};
    eab_outbox outbox;
    eab_outbox_init(&outbox);
    session->sweep = &sweep;
    session->run = (eab_run_settings){.backend = "cpu", .device = "x", .workers = 1, .peak_gflop_per_s = 1e-6};
    session->outbox = &outbox;
    result->status = EAB_CELL_OK;
    result->train_s = train_s;
    const eab_pool_settings settings = eab_session_pool_settings(session, NULL);
    cr_assert_eq(settings.sink(session, 0, result), EAB_OK);
    const eab_rank_message *message = g_queue_peek_head(&outbox.messages);
    char *row = g_strchomp(g_strdup(message->tail + strlen(message->tail) + 1)); /* accuracy.csv comes first */
    char **fields = g_strsplit(row, ",", -1);
    g_free(row);
    eab_outbox_destroy(&outbox);
    return fields;
}

static const char *field(char **fields, const char *name) {
    return fields[eab_table_column(eab_run_table(EAB_TABLE_THROUGHPUT, 0), name)];
}

Test(session, a_peak_that_a_cell_exceeds_is_measured_again) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_cell_result result = fixture_result(&plan.cells[0]);
    eab_sweep_session session = {.plan = &plan, .mutex = PTHREAD_MUTEX_INITIALIZER};
    char **fields = throughput_row(1e3, &session, &result); /* 1.5e-3 GFLOP/s */
    const double peak = g_ascii_strtod(field(fields, "peak_gflop_per_s"), NULL);
    cr_expect_gt(peak, 1e-2, "measured: %g", peak);
    cr_expect_float_eq(session.run.peak_gflop_per_s, peak, 1e-8 * peak, "later cells use it, too");
    cr_expect_float_eq(g_ascii_strtod(field(fields, "peak_fraction"), NULL), 5e4 * 40 * 32 * 24 * 1e-12 / peak, 1e-10);
    cr_expect_str_eq(field(fields, "marks"), "");
    g_strfreev(fields);

    fields = throughput_row(1e-9, &session, &result); /* faster than any processor */
    cr_expect_str_eq(field(fields, "marks"), "above_peak");
    g_strfreev(fields);
    fixture_free(&result);
    eab_plan_free(&plan);
}
