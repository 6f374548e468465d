#include "choice.h"

#include <string.h>

#include "base/files.h"
#include "base/suggest.h"

enum { MAX_BYTES = 64 << 20 };

static int read_ids(const char *path, char *text, const eab_plan *plan, bool *chosen) {
    char shown_path[120], shown[60];
    int64_t count = 0, number = 1;
    eab_excerpt(path, 80, shown_path, sizeof shown_path);
    for (char *line = text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        g_strstrip(line);
        if (!*line) continue;
        const int64_t cell = eab_plan_find(plan, line);
        if (cell < 0)
            return eab_fail(EAB_BAD_INPUT,
                            "%s:%lld: '%s' is no cell of this spec; allowed: one id a line, of the column cell of "
                            "--dry-run --list",
                            shown_path, (long long)number, eab_excerpt(line, 30, shown, sizeof shown));
        chosen[cell] = true;
        count++;
    }
    if (count) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: lists no cell; allowed: one id a line", shown_path);
}

int eab_choice_read(const char *path, const eab_plan *plan, bool **chosen) {
    char *text, shown[120];
    *chosen = NULL;
    EAB_TRY(eab_small_file_read(path, MAX_BYTES, "a file of cell ids, one a line", &text));
    if (!text)
        return eab_fail(EAB_BAD_INPUT, "%s: there is no such file; allowed: a file of cell ids, one a line",
                        eab_excerpt(path, 80, shown, sizeof shown));
    *chosen = g_new0(bool, (gsize)plan->count);
    const int status = read_ids(path, text, plan, *chosen);
    g_free(text);
    if (status) g_clear_pointer(chosen, g_free);
    return status;
}
