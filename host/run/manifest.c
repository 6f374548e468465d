#include "manifest.h"

#include <string.h>

#include "base/replace.h"
#include "kernels/status.h"
#include "plan/cells.h"
#include "small_file.h"

enum { MANIFEST_MAX_BYTES = 64 * EAB_SPEC_MAX_BYTES };
static const char ALLOWED[] = "a manifest that eabench wrote is allowed, or another --out";
static const char SECTION[] = "\n[environment]\n";

int eab_manifest_write(const char *path, const char *resolved, const eab_environment *environment) {
    GString *text = g_string_new(resolved);
    if (text->len && text->str[text->len - 1] != '\n') g_string_append_c(text, '\n');
    g_string_append(text, SECTION);
    for (int i = 0; i < EAB_ENVIRONMENT_KEYS; i++) {
        const char *key = eab_environment_keys[i];
        g_string_append_printf(text, "%s = %s\n", key, eab_environment_get(environment, key));
    }
    const int status = eab_replace_file(path, text->str, text->len);
    g_string_free(text, TRUE);
    return status;
}

/* The section is the file's last and has one line for each key, so the spec above it need not be parsed. */
static void read_section(const char *section, eab_environment *environment) {
    char **lines = g_strsplit(section, "\n", -1);
    for (char **line = lines; *line && **line != '['; line++) {
        char *equals = strchr(*line, '=');
        if (!equals) continue;
        *equals = '\0';
        eab_environment_set(environment, g_strstrip(*line), equals + 1);
    }
    g_strfreev(lines);
}

int eab_manifest_read(const char *path, eab_environment *environment, bool *found) {
    char *text;
    *environment = (eab_environment){.value = {NULL}};
    *found = false;
    EAB_TRY(eab_small_file_read(path, MANIFEST_MAX_BYTES, ALLOWED, &text));
    if (!text) return EAB_OK;
    const char *section = strstr(text, SECTION);
    const bool empty = !*text; /* left by a crash of the machine: as if it were not there */
    *found = section != NULL;
    if (section) read_section(section + strlen(SECTION), environment);
    g_free(text);
    if (section || empty) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: it has no [environment] section; %s", path, ALLOWED);
}
