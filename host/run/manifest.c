#include "manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/replace.h"
#include "kernels/status.h"
#include "plan/cells.h"

enum { MANIFEST_MAX_BYTES = 64 * EAB_SPEC_MAX_BYTES };

int eab_manifest_write(const char *path, const char *resolved, const eab_environment *environment) {
    GString *text = g_string_new(resolved);
    if (text->len && text->str[text->len - 1] != '\n') g_string_append_c(text, '\n');
    g_string_append(text, "\n[environment]\n");
#define EAB_ENVIRONMENT_WRITE(name) g_string_append_printf(text, #name " = %s\n", environment->name);
    EAB_ENVIRONMENT_LIST(EAB_ENVIRONMENT_WRITE)
#undef EAB_ENVIRONMENT_WRITE
    const int status = eab_replace_file(path, text->str, text->len);
    g_string_free(text, TRUE);
    return status;
}

static int foreign(const char *path, const char *what) {
    return eab_fail(EAB_BAD_INPUT, "%s: %s; a manifest that eabench wrote is allowed, or another --out", path, what);
}

/* The bytes of a regular file of bounded size, NUL-terminated; NULL and *status EAB_OK if there is none. */
static char *read_bounded(const char *path, int *status) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat facts;
    *status = EAB_OK;
    if (fd < 0) {
        if (errno != ENOENT) *status = eab_fail(EAB_IO, "%s: cannot be read: %s", path, g_strerror(errno));
        return NULL;
    }
    char *text = NULL;
    if (fstat(fd, &facts) || !S_ISREG(facts.st_mode)) *status = foreign(path, "not a regular file");
    else if (facts.st_size > MANIFEST_MAX_BYTES) *status = foreign(path, "larger than 64 MiB");
    else {
        text = g_malloc0((gsize)facts.st_size + 1);
        size_t used = 0;
        while (used < (size_t)facts.st_size) {
            const ssize_t got = read(fd, text + used, (size_t)facts.st_size - used);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) *status = eab_fail(EAB_IO, "%s: cannot be read: %s", path, g_strerror(errno));
            if (got <= 0) break;
            used += (size_t)got;
        }
        if (!*status && strlen(text) != used) *status = foreign(path, "it holds NUL bytes");
    }
    close(fd);
    if (*status) g_clear_pointer(&text, g_free);
    return text;
}

int eab_manifest_read(const char *path, eab_environment *environment, bool *found) {
    *environment = (eab_environment){0};
    *found = false;
    int status;
    char *text = read_bounded(path, &status);
    if (!text) return status;
    if (!*text) { /* left by a crash of the machine: as if it were not there */
        g_free(text);
        return EAB_OK;
    }

    /* The section is ours alone, so lines are enough: the spec's own grammar above it does not matter here. */
    char *section = strstr(text, "\n[environment]\n");
    if (!section) {
        g_free(text);
        return foreign(path, "it has no [environment] section");
    }
    char **lines = g_strsplit(section + strlen("\n[environment]\n"), "\n", -1);
    for (char **line = lines; *line && **line != '['; line++) {
        char *equals = strchr(*line, '=');
        if (!equals) continue;
        *equals = '\0';
        const char *key = g_strstrip(*line);
#define EAB_ENVIRONMENT_READ(name) \
    if (strcmp(key, #name) == 0 && !environment->name) environment->name = eab_line_clean(equals + 1);
        EAB_ENVIRONMENT_LIST(EAB_ENVIRONMENT_READ)
#undef EAB_ENVIRONMENT_READ
    }
#define EAB_ENVIRONMENT_DEFAULT(name) \
    if (!environment->name) environment->name = g_strdup("");
    EAB_ENVIRONMENT_LIST(EAB_ENVIRONMENT_DEFAULT)
#undef EAB_ENVIRONMENT_DEFAULT
    g_strfreev(lines);
    g_free(text);
    *found = true;
    return EAB_OK;
}
