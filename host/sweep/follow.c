/* A sweep in a process that follows the leader: it trains, and neither writes files nor prints. */
#include "base/interrupt.h"
#include "bench/peak.h"
#include "session.h"

static void report_fleet(void *context, const eab_fleet *fleet, bool complete) {
    const eab_sweep_session *session = context;
    eab_follower_fleet_ended(session->follower, fleet, complete);
}

static double measure_peak(const eab_sweep *sweep) {
    eab_device *device;
    if (eab_device_open(sweep->backend, sweep->device, &device)) return 0;
    const double peak = eab_peak_gflop_per_s(device, EAB_F32);
    eab_device_close(device);
    return peak;
}

int eab_sweep_follow(const eab_sweep *sweep, const eab_plan *plan, int status) {
    char *fingerprint = status ? g_strdup("") : eab_sweep_fingerprint(sweep, plan);
    eab_interrupt_watch();
    eab_sweep_session session = {.sweep = sweep, .plan = plan};
    session.follower = eab_follower_new(sweep->ranks, status, fingerprint);
    g_free(fingerprint);
    double peak_gflop_per_s;
    if (eab_follower_begins(session.follower, sweep->description, &peak_gflop_per_s) && !status) {
        session.run = eab_session_run_settings(sweep);
        session.run.peak_gflop_per_s = peak_gflop_per_s >= 0 ? peak_gflop_per_s : measure_peak(sweep);
        eab_pool_settings settings = eab_session_pool_settings(&session, NULL);
        settings.fleet_sink = report_fleet;
        eab_follower_train(session.follower, &settings, plan->cells);
    }
    return eab_follower_end(session.follower);
}
