#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "kernels/attention.h"
#include "kernels/clock.h"

enum { RATE_SAMPLES = 32 }; /* one in 0.1 s: the rate of the last 3 seconds */
static const double REDRAW_S = 0.1, QUIET_S = 30, JSON_EVERY_S = 1, LINE_EVERY_S = 5, LINE_BURST = 100;

struct eab_progress {
    eab_progress_kind kind; /* AUTO is LINES here, or live */
    bool live, colour;
    double started_s; /* of the first update; 0: there was none */
    double drawn_s;   /* when the live line or the last plain line was written */
    double lines;     /* plain lines that may be written */
    double line_s;    /* when `lines` was computed */
    struct {
        double s, tokens;
    } sample[RATE_SAMPLES];
    int64_t samples;
    double tokens_per_s;
};

void eab_duration_print(double seconds, char *text, size_t size) {
    if (!(seconds >= 0 && seconds < 1e9)) {
        g_strlcpy(text, "--", size);
        return;
    }
    const long whole = lround(seconds);
    if (whole < 60) g_snprintf(text, size, "%lds", whole);
    else if (whole < 3600) g_snprintf(text, size, "%ldm%02lds", whole / 60, whole % 60);
    else if (whole < 86400) g_snprintf(text, size, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    else g_snprintf(text, size, "%ldd%02ldh", whole / 86400, whole / 3600 % 24);
}

void eab_quantity_print(double value, const char *unit, char *text, size_t size) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
    size_t i = 0;
    if (!isfinite(value)) {
        g_snprintf(text, size, "-- %s", unit);
        return;
    }
    for (; fabs(value) >= 999.5 && i + 1 < G_N_ELEMENTS(prefixes); i++) value /= 1000;
    const int decimals = i == 0 && value == floor(value) ? 0 : fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    g_snprintf(text, size, "%.*f %s%s", decimals, value, prefixes[i], unit);
}

/* Appends a part after two spaces if the line has room for it. After the first part that does not fit, none is
 * added: *columns is 0 then. */
__attribute__((format(printf, 3, 4))) static void add_part(GString *line, size_t *columns, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *part = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    const char *gap = line->len ? "  " : "";
    if (line->len + strlen(gap) + strlen(part) > *columns) *columns = 0;
    else g_string_append_printf(line, "%s%s", gap, part);
    g_free(part);
}

char *eab_progress_line(const eab_progress_state *state, double eta_s, double rate, size_t columns) {
    char eta[32], speed[32];
    GString *line = g_string_new(NULL);
    eab_duration_print(eta_s, eta, sizeof eta);
    eab_quantity_print(rate, "tok/s", speed, sizeof speed);
    add_part(line, &columns, "%lld/%lld cells", (long long)state->cells_done, (long long)state->cells_total);
    add_part(line, &columns, "%d%%", (int)(100 * state->cells_done / MAX(1, state->cells_total)));
    if (state->failed) add_part(line, &columns, "%lld failed", (long long)state->failed);
    add_part(line, &columns, "ETA %s", eta);
    add_part(line, &columns, "%s", speed);
    for (int32_t i = 0; i < EAB_MECHANISM_COUNT; i++)
        if (state->accuracy_count[i])
            add_part(line, &columns, "%s %.3f", eab_mechanism_name(i),
                     state->accuracy_sum[i] / (double)state->accuracy_count[i]);
    return g_string_free(line, FALSE);
}

/* The terminal's columns but one, so that the line never wraps. */
static size_t columns_of(void) {
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1) return (size_t)window.ws_col - 1;
    const char *text = getenv("COLUMNS");
    const long columns = text ? strtol(text, NULL, 10) : 0;
    return columns > 1 && columns <= 1000 ? (size_t)columns - 1 : 79;
}

eab_progress *eab_progress_new(eab_progress_kind kind) {
    const char *terminal = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    eab_progress *progress = g_new0(eab_progress, 1);
    progress->kind = kind;
    progress->live =
        kind == EAB_PROGRESS_AUTO && isatty(STDERR_FILENO) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
    progress->colour = progress->live && !(no_colour && *no_colour);
    progress->line_s = eab_now_s();
    progress->drawn_s = progress->live ? 0 : progress->line_s;
    progress->lines = LINE_BURST;
    progress->tokens_per_s = NAN;
    return progress;
}

void eab_progress_free(eab_progress *progress) {
    eab_log_live(NULL);
    g_free(progress);
}

/* Adds a sample; returns the tokens per second over the samples. */
static double current_rate(eab_progress *progress, double now, double tokens) {
    const int64_t newest = progress->samples++;
    progress->sample[newest % RATE_SAMPLES].s = now;
    progress->sample[newest % RATE_SAMPLES].tokens = tokens;
    const int64_t oldest = newest < RATE_SAMPLES ? 0 : newest - RATE_SAMPLES + 1;
    const double since = now - progress->sample[oldest % RATE_SAMPLES].s;
    return since > 0 ? (tokens - progress->sample[oldest % RATE_SAMPLES].tokens) / since : NAN;
}

double eab_progress_eta_s(const eab_progress *progress, const eab_progress_state *state) {
    const double elapsed = eab_now_s() - progress->started_s;
    if (progress->started_s <= 0 || state->flop_done <= 0 || elapsed < 0.5) return NAN;
    return elapsed * (state->flop_total - state->flop_done) / state->flop_done;
}

double eab_progress_tokens_per_s(const eab_progress *progress) { return progress->tokens_per_s; }

static void put_event(const eab_progress *progress, const eab_progress_state *state) {
    GString *json = eab_log_begin_event("progress");
    eab_json_count(json, "cells", state->cells_total);
    eab_json_count(json, "done", state->cells_done);
    eab_json_count(json, "failed", state->failed);
    eab_json_real(json, "eta_s", eab_progress_eta_s(progress, state));
    eab_json_real(json, "tokens_per_s", progress->tokens_per_s);
    eab_log_end_event(json);
}

/* ---- lines ----------------------------------------------------------------------------------------------------- */

/* Limits the plain lines, so that the log of a large sweep has not one line for each cell. */
static bool line_allowed(eab_progress *progress, double now) {
    progress->lines = MIN(LINE_BURST, progress->lines + (now - progress->line_s) / LINE_EVERY_S);
    progress->line_s = now;
    if (progress->lines < 1) return false;
    progress->lines -= 1;
    return true;
}

static void put_live_line(const eab_progress *progress, const char *text) {
    const int head = progress->colour ? (int)strcspn(text, " ") : 0;
    char *line = head ? g_strdup_printf("\033[1m%.*s\033[0m%s", head, text, text + head) : g_strdup(text);
    eab_log_live(line);
    g_free(line);
}

void eab_progress_update(eab_progress *progress, const eab_progress_state *state) {
    const double now = eab_now_s();
    const double every_s = progress->live                        ? REDRAW_S * 0.9
                           : progress->kind == EAB_PROGRESS_JSON ? JSON_EVERY_S
                                                                 : QUIET_S;
    if (progress->started_s <= 0) progress->started_s = now;
    progress->tokens_per_s = current_rate(progress, now, state->tokens);
    if (now - progress->drawn_s < every_s || progress->kind == EAB_PROGRESS_OFF) return;
    progress->drawn_s = now;
    if (progress->kind == EAB_PROGRESS_JSON) {
        put_event(progress, state);
        return;
    }
    char *text = eab_progress_line(state, eab_progress_eta_s(progress, state), progress->tokens_per_s,
                                   progress->live ? columns_of() : 400);
    if (progress->live) put_live_line(progress, text);
    else eab_log_line(text);
    g_free(text);
}

void eab_progress_cell(eab_progress *progress, const eab_progress_state *state, const char *text) {
    if (progress->live || progress->kind == EAB_PROGRESS_JSON || progress->kind == EAB_PROGRESS_OFF) return;
    char eta[32] = "";
    const double now = eab_now_s(), eta_s = eab_progress_eta_s(progress, state);
    if (!line_allowed(progress, now)) return;
    if (isfinite(eta_s)) eab_duration_print(eta_s, eta, sizeof eta);
    char *line = g_strdup_printf("%lld/%lld  %s%s%s", (long long)state->cells_done, (long long)state->cells_total, text,
                                 *eta ? "  ETA " : "", eta);
    eab_log_line(line);
    progress->drawn_s = now;
    g_free(line);
}
