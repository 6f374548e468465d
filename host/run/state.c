#include "state.h"

#include <errno.h>
#include <glib.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"
#include "base/system.h"
#include "kernels/status.h"

/* The file's first group. The others are the listed fleets, each named after its first cell. */
static const char SWEEP[] = "sweep";
static const char ALLOWED[] = "it may be removed";
enum { MAX_BYTES = 1 << 16 };
static const double SILENT_S = 60;

static char *path_of(const char *run) { return g_build_filename(run, ".state", NULL); }

void eab_run_state_write(const char *run, const eab_run_state *state) {
    GKeyFile *file = g_key_file_new();
    g_key_file_set_boolean(file, SWEEP, "stopping", state->stopping);
    g_key_file_set_double(file, SWEEP, "eta_s", state->eta_s);
    g_key_file_set_double(file, SWEEP, "tokens_per_s", state->tokens_per_s);
    g_key_file_set_integer(file, SWEEP, "running", state->running_count);
    for (int32_t i = 0; i < MIN(state->running_count, EAB_STATE_MAX_RUNNING); i++) {
        g_key_file_set_integer(file, state->running[i].cell, "members", state->running[i].members);
        g_key_file_set_double(file, state->running[i].cell, "share", state->running[i].share);
    }
    gsize size;
    char *text = g_key_file_to_data(file, &size, NULL), *path = path_of(run);
    (void)eab_replace_file(path, text, size, false);
    g_key_file_free(file);
    g_free(text);
    g_free(path);
}

void eab_run_state_remove(const char *run) {
    char *path = path_of(run), *temporary = g_strconcat(path, EAB_REPLACEMENT_ENDING, NULL);
    unlink(path);
    unlink(temporary);
    g_free(temporary);
    g_free(path);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* NAN if it is missing or out of range. */
static double read_real(GKeyFile *file, const char *group, const char *key, double most) {
    GError *error = NULL;
    const double value = g_key_file_get_double(file, group, key, &error);
    const bool good = !error && value >= 0 && value <= most;
    g_clear_error(&error);
    return good ? value : NAN;
}

static bool is_cell_id(const char *text) { return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16; }

/* False if a sweep does not write such a text. */
static bool read_text(const char *text, eab_run_state *state) {
    GKeyFile *file = g_key_file_new();
    gsize count = 0;
    const bool loaded = g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, NULL) &&
                        g_key_file_has_key(file, SWEEP, "running", NULL);
    char **groups = g_key_file_get_groups(file, &count);
    state->running_count = g_key_file_get_integer(file, SWEEP, "running", NULL);
    bool good = loaded && strcmp(groups[0], SWEEP) == 0 &&
                (int32_t)count - 1 == MIN(state->running_count, EAB_STATE_MAX_RUNNING);
    for (gsize i = 1; i < count && good; i++) {
        eab_running *running = &state->running[i - 1];
        good = is_cell_id(groups[i]);
        g_strlcpy(running->cell, groups[i], sizeof running->cell);
        running->members = MAX(1, g_key_file_get_integer(file, groups[i], "members", NULL));
        running->share = read_real(file, groups[i], "share", 1);
    }
    state->stopping = g_key_file_get_boolean(file, SWEEP, "stopping", NULL);
    state->eta_s = read_real(file, SWEEP, "eta_s", 1e18);
    state->tokens_per_s = read_real(file, SWEEP, "tokens_per_s", 1e18);
    g_strfreev(groups);
    g_key_file_free(file);
    return good;
}

static double seconds_since(struct timespec then) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return MAX(0, (double)(now.tv_sec - then.tv_sec) + 1e-9 * (double)(now.tv_nsec - then.tv_nsec));
}

/* A process that is younger than the report has the number of one that is gone. */
static bool is_gone(const eab_run_state *state) {
    static const double CLOCKS_DIFFER_S = 2;
    char host[sizeof state->sweep.host] = "";
    if (gethostname(host, sizeof host - 1) || strcmp(host, state->sweep.host) != 0) return state->silent_s > SILENT_S;
    if (kill((pid_t)state->sweep.process, 0) != 0 && errno == ESRCH) return true;
    return eab_system_process_age_s(state->sweep.process) + CLOCKS_DIFFER_S < state->silent_s;
}

int eab_run_state_read(const char *run, bool *found, eab_run_state *state) {
    char *path = path_of(run), *text = NULL;
    struct stat facts;
    int status = EAB_OK;
    *state = (eab_run_state){.running_count = 0};
    *found = lstat(path, &facts) == 0;
    if (*found && S_ISLNK(facts.st_mode)) status = eab_fail(EAB_BAD_INPUT, "%s: a symbolic link; %s", path, ALLOWED);
    else if (*found) status = eab_small_file_read(path, MAX_BYTES, ALLOWED, &text);
    if (text && !read_text(text, state))
        status = eab_fail(EAB_BAD_INPUT, "%s: not what a sweep writes there; %s", path, ALLOWED);
    *found = text && !status;
    if (*found) {
        state->silent_s = seconds_since(facts.st_mtim);
        eab_run_lock_read(run, &state->sweep);
        state->stale = is_gone(state);
    }
    g_free(text);
    g_free(path);
    return status;
}
