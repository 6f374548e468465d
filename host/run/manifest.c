#include "manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/files.h"
#include "base/suggest.h"
#include "base/system.h"
#include "build_info.h" /* written by build_info.cmake at build time */
#include "kernels/backend.h"
#include "plan/cells.h"
#include "spec/text.h"

enum { MANIFEST_MAX_BYTES = 64 * EAB_SPEC_MAX_BYTES };
static const char ALLOWED[] = "a manifest that eabench wrote is allowed, or another --out";
static const char SECTION[] = "\n[environment]\n";

const char *const eab_environment_keys[] = {
    "version", "commit", "compiler",  "flags", "os",      "cpu",   "cores",   "isa",     "backend",          "device",
    "driver",  "clocks", "libraries", "ranks", "workers", "fleet", "started", "command", "peak_gflop_per_s", NULL};

/* ---- environment --------------------------------------------------------------------------------------------- */

static eab_environment *environment_new(void) { return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free); }

/* Frees `value`. */
static void set_owned(eab_environment *environment, const char *key, char *value) {
    eab_environment_set(environment, key, value);
    g_free(value);
}

static void set_count(eab_environment *environment, const char *key, int count) {
    set_owned(environment, key, g_strdup_printf("%d", count));
}

/* The GPU's driver, or for a run on the processor the reason why there is no GPU, if this build supports one. */
static char *driver(bool on_processor) {
    const eab_backend *cuda = eab_backend_from_name("cuda");
    if (!on_processor) return eab_system_gpu_driver();
    const char *absent = cuda && cuda->absent ? cuda->absent() : NULL;
    return absent ? g_strdup_printf("none: %s", absent) : NULL;
}

eab_environment *eab_environment_collect(const eab_run_settings *settings) {
    eab_environment *environment = environment_new();
    const bool on_processor = strcmp(settings->backend, "cuda") != 0;
    char now[EAB_TIME_SIZE], *c_library = eab_system_c_library();
    eab_time_print(now);
    eab_environment_set(environment, "version", EAB_BUILD_VERSION);
    eab_environment_set(environment, "commit", EAB_BUILD_COMMIT);
    eab_environment_set(environment, "compiler", EAB_BUILD_COMPILER);
    eab_environment_set(environment, "flags", EAB_BUILD_FLAGS);
    set_owned(environment, "os", eab_system_os());
    set_owned(environment, "cpu", eab_system_processor());
    set_count(environment, "cores", eab_system_cores());
    eab_environment_set(environment, "isa", settings->isa);
    eab_environment_set(environment, "backend", settings->backend);
    eab_environment_set(environment, "device", settings->device);
    set_owned(environment, "driver", driver(on_processor));
    if (on_processor) set_owned(environment, "clocks", eab_system_processor_clock());
    set_owned(
        environment, "libraries",
        g_strdup_printf("%s, glib %u.%u.%u", c_library, glib_major_version, glib_minor_version, glib_micro_version));
    set_count(environment, "ranks", MAX(1, settings->ranks));
    set_count(environment, "workers", settings->workers);
    if (settings->fleet) set_count(environment, "fleet", settings->fleet);
    else eab_environment_set(environment, "fleet", "auto");
    eab_environment_set(environment, "started", now);
    eab_environment_set(environment, "command", settings->command);
    g_free(c_library);
    return environment;
}

void eab_environment_free(eab_environment *environment) {
    if (environment) g_hash_table_destroy(environment);
}

const char *eab_environment_get(eab_environment *environment, const char *key) {
    const char *value = g_hash_table_lookup(environment, key);
    return value ? value : "";
}

void eab_environment_set(eab_environment *environment, const char *key, const char *value) {
    g_hash_table_insert(environment, g_strdup(key), eab_line_clean(value ? value : ""));
}

void eab_environment_set_peak(eab_environment *environment, double gflop_per_s) {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    eab_environment_set(environment, "peak_gflop_per_s", g_ascii_formatd(text, sizeof text, "%.6g", gflop_per_s));
}

void eab_environment_keep(eab_environment *environment, eab_environment *old, const char *key) {
    const char *value = eab_environment_get(old, key);
    if (*value) eab_environment_set(environment, key, value);
}

char *eab_environment_differences(eab_environment *a, eab_environment *b, const char *label) {
    static const char *const keys[] = {"version", "commit", "backend", "isa"};
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *left = eab_environment_get(a, keys[i]), *right = eab_environment_get(b, keys[i]);
        char shown[80], other[80];
        if (strcmp(left, right) != 0)
            g_string_append_printf(text, "%s%s '%s' (%s '%s')", text->len ? ", " : "", keys[i],
                                   eab_excerpt(left, 60, shown, sizeof shown), label,
                                   eab_excerpt(right, 60, other, sizeof other));
    }
    return g_string_free(text, FALSE);
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static char *path_of(const char *folder) { return g_build_filename(folder, "manifest.ini", NULL); }

int eab_manifest_write(const char *folder, const char *resolved, eab_environment *environment) {
    GString *text = g_string_new(resolved);
    char *path = path_of(folder);
    if (text->len && text->str[text->len - 1] != '\n') g_string_append_c(text, '\n');
    g_string_append(text, SECTION);
    for (const char *const *key = eab_environment_keys; *key; key++)
        g_string_append_printf(text, "%s = %s\n", *key, eab_environment_get(environment, *key));
    const int status = eab_replace_file(path, text->str, text->len, true);
    g_free(path);
    g_string_free(text, TRUE);
    return status;
}

/* The section is the file's last and has one line for each key, so the spec above it need not be parsed. */
static eab_environment *read_section(const char *section) {
    eab_environment *environment = environment_new();
    char **lines = g_strsplit(section, "\n", -1);
    for (char **line = lines; *line && **line != '['; line++) {
        char *equals = strchr(*line, '=');
        if (!equals) continue;
        *equals = '\0';
        eab_environment_set(environment, g_strstrip(*line), equals + 1);
    }
    g_strfreev(lines);
    return environment;
}

int eab_manifest_read(const char *folder, eab_environment **environment) {
    char *path = path_of(folder), *text;
    *environment = NULL;
    int status = eab_small_file_read(path, MANIFEST_MAX_BYTES, ALLOWED, &text);
    const char *section = text ? strstr(text, SECTION) : NULL;
    if (section) *environment = read_section(section + strlen(SECTION));
    else if (text && *text) /* an empty one, which a crash of the machine may leave, counts as missing */
        status = eab_fail(EAB_BAD_INPUT, "%s: it has no [environment] section; %s", path, ALLOWED);
    g_free(text);
    g_free(path);
    return status;
}

/* Where the manifest has `text` as a value, or as the beginning of one; NULL: nowhere. No path has a comma. */
static const char *find_value(const char *manifest, const char *text) {
    const char *found = strstr(manifest, text);
    while (found && !(found - manifest >= 2 && (strncmp(found - 2, "= ", 2) == 0 || strncmp(found - 2, ", ", 2) == 0)))
        found = strstr(found + 1, text);
    return found;
}

/* The manifest has "PATH sha256:DIGEST" for each file. */
static int check_text(const char *manifest, const char *path, const eab_text *text) {
    char *printed = eab_text_print(text), *digest = g_strndup(printed, strlen(printed) - strlen(text->sha256));
    const char *noted = find_value(manifest, digest);
    int status = EAB_OK;
    if (noted && !g_str_has_prefix(noted, printed))
        status = eab_fail(EAB_BAD_INPUT,
                          "%s has changed since %s was begun: its digest was %.64s and is %s; allowed: the file as it "
                          "was, or another --out",
                          text->path, path, noted + strlen(digest), text->sha256);
    g_free(digest);
    g_free(printed);
    return status;
}

int eab_manifest_check_texts(const char *folder, const GPtrArray *texts) {
    char *path, *manifest;
    if (!texts || !texts->len) return EAB_OK;
    path = path_of(folder);
    int status = eab_small_file_read(path, MANIFEST_MAX_BYTES, ALLOWED, &manifest);
    for (guint i = 0; i < texts->len && manifest && !status; i++)
        status = check_text(manifest, folder, g_ptr_array_index(texts, i));
    g_free(manifest);
    g_free(path);
    return status;
}
