#include "log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "csv.h"
#include "files.h"
#include "json.h"
#include "system.h"

static atomic_bool use_json, redirected;
static void (*redirection)(void *context, const char *text);
static void *redirection_context;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of the stream */
static atomic_bool writing;
static atomic_bool drawn; /* a live line, without a newline */
static bool torn;         /* the end of the last line could not be written: a full disk */

/* Write errors are ignored: there is no other place to report them. */
static void put(const char *text, size_t size) {
    size_t written = 0;
    pthread_mutex_lock(&mutex);
    atomic_store(&writing, true);
    if (torn && eab_write_all(STDERR_FILENO, "\n", 1, NULL) == 0) torn = false;
    if (!torn && eab_write_all(STDERR_FILENO, text, size, &written)) torn = written > 0;
    atomic_store(&writing, false);
    pthread_mutex_unlock(&mutex);
}

void eab_log_line(const char *text) {
    char *line = g_strconcat(atomic_exchange(&drawn, false) ? "\r\033[K" : "", text, "\n", NULL);
    put(line, strlen(line));
    g_free(line);
}

void eab_log_live(const char *text) {
    if (!text && !atomic_load(&drawn)) return;
    char *line = g_strconcat("\r", text ? text : "", "\033[K", NULL);
    atomic_store(&drawn, text != NULL);
    put(line, strlen(line));
    g_free(line);
}

/* ---- events ---------------------------------------------------------------------------------------------------- */

GString *eab_log_begin_event(const char *name) {
    char now[EAB_TIME_SIZE];
    if (!atomic_load(&use_json)) return NULL;
    GString *json = g_string_new(NULL);
    eab_time_print(now);
    eab_json_begin(json, NULL, '{');
    eab_json_text(json, "event", name);
    eab_json_text(json, "time", now);
    return json;
}

void eab_log_end_event(GString *json) {
    eab_json_end(json, '}');
    g_string_append_c(json, '\n');
    put(json->str, json->len);
    g_string_free(json, TRUE);
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static void put_message(const char *event, const char *command, const char *text) {
    if (redirection) {
        redirection(redirection_context, text);
        return;
    }
    GString *json = eab_log_begin_event(event);
    if (json) {
        eab_json_text(json, "text", text);
        eab_log_end_event(json);
        return;
    }
    char *line = g_strconcat(command ? "eabench" : "", command && *command ? " " : "", command ? command : "",
                             command ? ": " : "", text, NULL);
    eab_log_line(line);
    g_free(line);
}

void eab_log_note(const char *command, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    put_message("note", command, text);
    g_free(text);
}

void eab_log_error(const char *command, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = g_strdup_vprintf(format, arguments), *line = eab_line_clean(text);
    va_end(arguments);
    put_message("error", command, line);
    g_free(line);
    g_free(text);
}

static GLogWriterOutput write_of_glib(GLogLevelFlags level, const GLogField *fields, gsize count, gpointer context) {
    (void)context;
    for (gsize i = 0; i < count && !(level & (G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG)); i++)
        if (strcmp(fields[i].key, "MESSAGE") == 0)
            eab_log_error("", "GLib: %.*s", (int)fields[i].length, (const char *)fields[i].value);
    return G_LOG_WRITER_HANDLED;
}

void eab_log_open(void) { g_log_set_writer_func(write_of_glib, NULL, NULL); }

void eab_log_use_json(bool json) { atomic_store(&use_json, json); }

void eab_log_redirect(void (*sink)(void *context, const char *text), void *context) {
    redirection = sink;
    redirection_context = context;
    atomic_store(&redirected, sink != NULL);
}

/* ---- signal handlers: neither GLib nor stdio -------------------------------------------------------------------- */

void eab_log_from_handler(const char *text) {
    char line[512] = "", now[EAB_TIME_SIZE];
    if (atomic_load(&writing) || atomic_load(&redirected)) return;
    eab_time_print(now);
    const bool json = atomic_load(&use_json);
    const char *const parts[] = {json                  ? "{\"event\":\"error\",\"time\":\""
                                 : atomic_load(&drawn) ? "\n"
                                                       : "",
                                 json ? now : "eabench: ", json ? "\",\"text\":\"" : "", text, json ? "\"}\n" : "\n"};
    size_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (const char *c = parts[i]; *c && size < sizeof line; c++) line[size++] = *c;
    (void)eab_write_all(STDERR_FILENO, line, size, NULL);
}
