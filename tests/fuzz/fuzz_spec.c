/* The spec parser and --set: the text of a file, then the values of --set, each after a byte 0x1F. A printed spec must
 * be read as the same spec, and an accepted one must give a plan or be refused. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "../../host/plan/cells.h"
#include "../../host/spec/file.h"
#include "fuzz.h"

enum { MAX_SETS = 4, SEPARATOR = 0x1F };

static void expect_same_again(const eab_spec *spec) {
    char *text = eab_spec_print(spec);
    eab_spec again;
    fuzz_expect(eab_spec_parse("again.ini", text, strlen(text), NULL, &again) == 0, "a printed spec that is accepted");
    char *printed = eab_spec_print(&again);
    fuzz_expect(strcmp(text, printed) == 0, "the same text of a spec printed and read");
    g_free(printed);
    g_free(text);
    eab_spec_free(&again);
}

static void make_plan(const eab_spec *spec) {
    eab_plan plan;
    const int status = eab_plan_make("folder/fuzz.ini", spec, &plan);
    if (status) {
        fuzz_expect_refusal(status);
        return;
    }
    fuzz_expect(plan.count > 0 && plan.count <= EAB_PLAN_MAX_CELLS, "a number of cells within the bounds");
    for (int64_t i = 0; i < plan.count; i++) fuzz_expect(eab_cell_flop(&plan.cells[i].config) > 0, "cells with a cost");
    eab_plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    const char *sets[MAX_SETS + 1] = {NULL};
    size_t length = size;
    const char *separator = size ? memchr(text, SEPARATOR, size) : NULL;
    if (separator) length = (size_t)(separator - text);
    char *bytes = fuzz_text(data, length);
    if (separator) {
        char *next = text + length + 1;
        for (int i = 0; i < MAX_SETS && next; i++) {
            sets[i] = next;
            next = strchr(next, SEPARATOR);
            if (next) *next++ = '\0';
        }
    }
    eab_spec spec;
    const int status = eab_spec_parse("fuzz.ini", bytes, length, sets, &spec);
    if (status) {
        fuzz_expect_refusal(status);
    } else {
        expect_same_again(&spec);
        make_plan(&spec);
        eab_spec_free(&spec);
    }
    free(bytes);
    free(text);
    return 0;
}
