#include "task_examples.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spec/cell_task.h"
#include "tasks/task.h"

/* The longest of the names of tokens; task tokens of a mixture are numbers. */
static int token_width(const eab_config *config) {
    char name[32];
    int width = 1;
    if (eab_config_cue_token(config) >= 0) width = snprintf(name, sizeof name, "%d", eab_config_vocab(config) - 1);
    for (int32_t part = 0; part < eab_config_part_count(config); part++) {
        const eab_level *level = eab_config_part(config, part);
        for (int32_t token = 0; token < eab_task_at(level->family)->vocab(level); token++) {
            eab_token_name(level, token, name, sizeof name);
            width = MAX(width, (int)strlen(name));
        }
    }
    return width;
}

/* Free tokens stand in brackets, in bold on a terminal; all take the same width, so that columns line up. */
int eab_task_examples_print(const eab_config *config, int32_t count, uint32_t seed) {
    const int32_t length = config->context + 1;
    const int width = token_width(config);
    const bool terminal = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    int32_t *tokens = malloc((size_t)length * sizeof *tokens);
    uint8_t *determined = malloc((size_t)length);
    eab_level levels[EAB_MAX_PARTS];
    uint8_t held_out[EAB_MAX_PARTS];
    const eab_parts parts = eab_config_list_parts(config, 0, levels, held_out);
    int status = EAB_OK;
    if (!tokens || !determined) status = eab_fail(EAB_NO_MEMORY, "no memory for sequences of %d tokens", length);
    for (int32_t i = 0; i < count && !status && !ferror(stdout); i++) {
        eab_parts_generate(levels, held_out, parts, 0, seed, EAB_STREAM_TRAINING, (uint64_t)i, length, tokens,
                           determined);
        for (int32_t t = 0; t < length; t++) {
            char token[32];
            if (t == 0 && parts.cue >= 0) snprintf(token, sizeof token, "%d", tokens[t]);
            else eab_token_name(&levels[i % parts.count], tokens[t], token, sizeof token);
            if (determined[t]) printf(" %*s ", width, token);
            else printf("%s[%*s]%s", terminal ? "\033[1;36m" : "", width, token, terminal ? "\033[0m" : "");
        }
        putchar('\n');
    }
    free(tokens);
    free(determined);
    return status;
}
