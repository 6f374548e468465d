#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/replace.h"
#include "base/system.h"
#include "kernels/status.h"

enum { MAX_BYTES = 1 << 16 };
static const char FIRST_LINE[] = "eabench state 1";
static const double SILENT_S = 60;

static double seconds_since_1970(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void eab_run_state_begin(eab_run_state *state) {
    *state = (eab_run_state){.process = getpid(), .eta_s = NAN, .tokens_per_s = NAN};
    if (gethostname(state->host, sizeof state->host - 1)) g_strlcpy(state->host, "?", sizeof state->host);
    eab_time_print(time(NULL), state->started, sizeof state->started);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void append_real(GString *text, const char *key, double value) {
    char number[G_ASCII_DTOSTR_BUF_SIZE] = "";
    if (isfinite(value)) g_ascii_dtostr(number, sizeof number, value);
    g_string_append_printf(text, "%s=%s\n", key, number);
}

static GString *print_state(const eab_run_state *state) {
    GString *text = g_string_new(FIRST_LINE);
    char *host = eab_line_clean(state->host);
    g_string_append_printf(text, "\nprocess=%lld\nhost=%s\nstarted=%s\n", (long long)state->process, host,
                           state->started);
    g_free(host);
    append_real(text, "written_s", state->written_s);
    g_string_append_printf(text, "cells=%lld\ndone=%lld\nfailed=%lld\nstopping=%d\nrunning_count=%d\n",
                           (long long)state->cells, (long long)state->done, (long long)state->failed, state->stopping,
                           state->running_count);
    append_real(text, "eta_s", state->eta_s);
    append_real(text, "tokens_per_s", state->tokens_per_s);
    for (int32_t i = 0; i < MIN(state->running_count, EAB_STATE_MAX_RUNNING); i++) {
        const eab_running *running = &state->running[i];
        g_string_append_printf(text, "running=%s %d %d\n", running->cell, running->members,
                               (int)(1e6 * CLAMP(running->share, 0, 1)));
    }
    return text;
}

void eab_run_state_write(const char *run, eab_run_state *state) {
    char *path = g_build_filename(run, ".state", NULL), *beside = g_build_filename(run, ".state.new", NULL);
    state->written_s = seconds_since_1970();
    GString *text = print_state(state);
    unlink(beside);
    const int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    bool written = false;
    if (fd >= 0) {
        written = eab_write_all(fd, text->str, text->len, NULL) == 0;
        if (close(fd)) written = false;
    }
    if (!written || rename(beside, path)) unlink(beside);
    g_string_free(text, TRUE);
    g_free(path);
    g_free(beside);
}

void eab_run_state_remove(const char *run) {
    static const char *const names[] = {".state", ".state.new"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        char *path = g_build_filename(run, names[i], NULL);
        unlink(path);
        g_free(path);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static bool read_count(const char *text, int64_t most, int64_t *count) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    const guint64 value = g_ascii_strtoull(text, &end, 10);
    if (*end || value > (guint64)most) return false;
    *count = (int64_t)value;
    return true;
}

/* An empty one is NAN. */
static bool read_real(const char *text, double *value) {
    char *end;
    *value = *text ? g_ascii_strtod(text, &end) : NAN;
    return !*text || (*end == '\0' && *value >= 0 && *value < 1e18);
}

static bool read_running(const char *text, eab_run_state *state, int32_t *listed) {
    char **words = g_strsplit(text, " ", 4);
    int64_t members = 0, share = 0;
    const bool good = *listed < EAB_STATE_MAX_RUNNING && g_strv_length(words) == 3 && strlen(words[0]) == 16 &&
                      strspn(words[0], "0123456789abcdef") == 16 && read_count(words[1], 65536, &members) &&
                      read_count(words[2], 1000000, &share);
    if (good) {
        eab_running *running = &state->running[(*listed)++];
        g_strlcpy(running->cell, words[0], sizeof running->cell);
        running->members = (int32_t)members;
        running->share = 1e-6 * (double)share;
    }
    g_strfreev(words);
    return good;
}

static bool read_line(const char *key, const char *value, eab_run_state *state, int32_t *listed) {
    static const int64_t MOST = INT64_C(1) << 53;
    int64_t count = 0;
    if (strcmp(key, "process") == 0) return read_count(value, INT32_MAX, &state->process);
    if (strcmp(key, "host") == 0) return g_strlcpy(state->host, value, sizeof state->host) < sizeof state->host;
    if (strcmp(key, "started") == 0)
        return g_strlcpy(state->started, value, sizeof state->started) < sizeof state->started;
    if (strcmp(key, "written_s") == 0) return read_real(value, &state->written_s) && !isnan(state->written_s);
    if (strcmp(key, "cells") == 0) return read_count(value, MOST, &state->cells);
    if (strcmp(key, "done") == 0) return read_count(value, MOST, &state->done);
    if (strcmp(key, "failed") == 0) return read_count(value, MOST, &state->failed);
    if (strcmp(key, "eta_s") == 0) return read_real(value, &state->eta_s);
    if (strcmp(key, "tokens_per_s") == 0) return read_real(value, &state->tokens_per_s);
    if (strcmp(key, "running") == 0) return read_running(value, state, listed);
    if (strcmp(key, "stopping") == 0) {
        const bool good = read_count(value, 1, &count);
        state->stopping = count == 1;
        return good;
    }
    if (strcmp(key, "running_count") == 0) {
        const bool good = read_count(value, INT32_MAX, &count);
        state->running_count = (int32_t)count;
        return good;
    }
    return true; /* of a later version */
}

static bool read_text(const char *text, eab_run_state *state) {
    char **lines = g_strsplit(text, "\n", -1);
    int32_t listed = 0;
    *state = (eab_run_state){.process = -1, .written_s = NAN, .eta_s = NAN, .tokens_per_s = NAN};
    bool good = strcmp(lines[0] ? lines[0] : "", FIRST_LINE) == 0;
    for (char **line = lines + (good ? 1 : 0); good && *line; line++) {
        char *equals = strchr(*line, '=');
        if (!equals) good = **line == '\0' && !line[1]; /* behind the last newline */
        else {
            *equals = '\0';
            good = read_line(*line, equals + 1, state, &listed);
        }
    }
    g_strfreev(lines);
    if (listed != MIN(state->running_count, EAB_STATE_MAX_RUNNING)) good = false;
    return good && state->process > 0 && !isnan(state->written_s);
}

int eab_run_state_read(const char *run, bool *found, eab_run_state *state) {
    char *path = g_build_filename(run, ".state", NULL), *text = g_malloc(MAX_BYTES + 1);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat facts;
    int status = EAB_OK;
    *found = fd >= 0;
    if (fd < 0 && errno != ENOENT)
        status = eab_fail(EAB_BAD_INPUT, "%s: %s", path, errno == ELOOP ? "a symbolic link" : g_strerror(errno));
    if (fd >= 0) {
        const bool regular = fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
        const ssize_t got = regular ? pread(fd, text, MAX_BYTES, 0) : -1;
        text[got > 0 ? got : 0] = '\0';
        if (got < 0 || strlen(text) != (size_t)got || !g_utf8_validate(text, got, NULL) || !read_text(text, state))
            status = eab_fail(EAB_BAD_INPUT, "%s: not what a sweep writes there; it may be removed", path);
        close(fd);
    }
    if (status) *found = false;
    g_free(text);
    g_free(path);
    return status;
}

bool eab_run_state_is_stale(const eab_run_state *state, double *silent_s) {
    char host[sizeof state->host] = "";
    *silent_s = MAX(0, seconds_since_1970() - state->written_s);
    if (gethostname(host, sizeof host - 1) == 0 && strcmp(host, state->host) == 0)
        return kill((pid_t)state->process, 0) != 0 && errno == ESRCH;
    return *silent_s > SILENT_S;
}
