/* For tests that read specs: text as a temporary file. */
#ifndef EAB_TESTS_SPEC_TEXT_H
#define EAB_TESTS_SPEC_TEXT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/plan/cells.h"

/* Writes `size` bytes to a new file and its name to path[64]; the caller unlinks it. */
static inline void write_bytes(const char *bytes, size_t size, char *path) {
    snprintf(path, 64, "/tmp/eab-spec-XXXXXX");
    const int file = mkstemp(path);
    cr_assert(file >= 0);
    cr_assert(write(file, bytes, size) == (ssize_t)size);
    close(file);
}

/* Loads a plan from text; in the error line the file is called SPEC. */
static inline int load_text(const char *text, const char *const *sets, eab_plan *plan, char error[1024]) {
    char path[64];
    write_bytes(text, strlen(text), path);
    const int status = eab_plan_load(path, sets, plan);
    error[0] = '\0';
    if (status) {
        const char *line = eab_last_error();
        if (strncmp(line, path, strlen(path)) == 0) snprintf(error, 1024, "SPEC%s", line + strlen(path));
        else snprintf(error, 1024, "%s", line);
    }
    unlink(path);
    return status;
}

#endif
