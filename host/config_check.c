/* What decides whether a cell can be trained at all, and the hash that names it. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tasks/task.h"
#include "options.h"
#include "train.h"

enum { MAX_HEAD_DIM = 256 };

/* "[task recurrence] basis=8 delay=4" */
static void name_level(const eab_config *config, char *text, size_t size) {
    char level[128];
    eab_level_name(&config->level, level, sizeof level);
    snprintf(text, size, "[task %s] %s", eab_task_at(config->level.family)->name, level);
}

static int check_heads(const eab_config *config) {
    const int32_t d_model = config->d_model, heads = config->heads;
    if (d_model % heads) {
        const int32_t below = d_model - d_model % heads, above = below + heads;
        char allowed[64];
        if (below) snprintf(allowed, sizeof allowed, "%d or %d, for example", below, above);
        else snprintf(allowed, sizeof allowed, "%d, for example", above);
        return eab_fail(EAB_BAD_INPUT, "[model] d_model = %d, heads = %d: d_model is no multiple of heads; allowed: %s",
                        d_model, heads, allowed);
    }
    const int32_t head_dim = d_model / heads;
    if (head_dim > MAX_HEAD_DIM)
        return eab_fail(EAB_BAD_INPUT,
                        "[model] d_model = %d, heads = %d: head_dim = d_model / heads = %d; allowed: at most %d",
                        d_model, heads, head_dim, MAX_HEAD_DIM);
    if (config->position == EAB_POSITION_ROPE && head_dim % 2)
        return eab_fail(EAB_BAD_INPUT,
                        "[model] position = rope, d_model = %d, heads = %d: head_dim = %d is odd; allowed: an even "
                        "head_dim, or position = learned, alibi, none",
                        d_model, heads, head_dim);
    return EAB_OK;
}

static int check_level(const eab_config *config) {
    const eab_task *task = eab_task_at(config->level.family);
    char level[192], message[256];
    if (!task->check(&config->level, config->context, message, sizeof message)) {
        name_level(config, level, sizeof level);
        return eab_fail(EAB_BAD_INPUT, "%s: %s", level, message);
    }
    const int32_t vocab = task->vocab(&config->level);
    if (config->embedding == EAB_EMBEDDING_ONEHOT && config->d_model < vocab) {
        name_level(config, level, sizeof level);
        return eab_fail(EAB_BAD_INPUT,
                        "[model] embedding = onehot, d_model = %d: less than the %d tokens of %s; allowed: d_model "
                        "%d..1024, or embedding = learned",
                        config->d_model, vocab, level, vocab);
    }
    if (config->heldout == EAB_HELD_OUT_HASH && !eab_level_has_held_out(&config->level, config->context)) {
        name_level(config, level, sizeof level);
        return eab_fail(EAB_BAD_INPUT,
                        "[train] heldout = hash: too few sequences in %s to set some apart; allowed: auto, none, or a "
                        "larger level",
                        level);
    }
    return EAB_OK;
}

static double read_limit(const char *path) {
    char *text = NULL;
    double limit = HUGE_VAL;
    if (g_file_get_contents(path, &text, NULL, NULL) && g_ascii_isdigit(text[0])) limit = g_ascii_strtod(text, NULL);
    g_free(text);
    return limit;
}

/* Memory that this process may use: the machine's, or less in a container. */
static double find_memory_bytes(void) {
    const double physical = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    const double group =
        fmin(read_limit("/sys/fs/cgroup/memory.max"), read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    return fmin(physical > 0 ? physical : HUGE_VAL, group);
}

static int check_memory(const eab_config *config) {
    const double positions = (double)config->batch * (config->context + 1);
    if (positions > INT32_MAX) /* rows are counted in 32 bits */
        return eab_fail(
            EAB_BAD_INPUT,
            "[train] batch = %d, [model] context = %d: batch * (context + 1) = %.0f tokens a step; allowed: "
            "at most %d",
            config->batch, config->context, positions, INT32_MAX);

    static double available; /* the same whoever finds it first */
    static gsize known;
    if (g_once_init_enter(&known)) {
        available = find_memory_bytes();
        g_once_init_leave(&known, 1);
    }
    const double bytes = eab_config_memory_bytes(config);
    if (bytes <= available) return EAB_OK;

    const double parameters = (double)eab_config_parameters(config);
    const int copies = config->optimizer == EAB_OPTIMIZER_ADAMW ? 4 : 3; /* weights, gradients, moments */
    const double rows = (double)config->batch * config->context;
    return eab_fail(
        EAB_BAD_INPUT,
        "[train] batch = %d, [model] context = %d, layers = %d, d_model = %d: does not fit in memory: %.0f "
        "parameters * %d bytes + %d * %d positions * %.0f bytes = %.3g GB; allowed: at most the %.3g GB here",
        config->batch, config->context, config->layers, config->d_model, parameters, 4 * copies, config->batch,
        config->context, (bytes - 4 * copies * parameters) / rows, bytes / 1e9, available / 1e9);
}

int eab_config_check(const eab_config *config) {
    EAB_TRY(check_heads(config));
    EAB_TRY(check_level(config));
    return check_memory(config);
}

/* ---- identity ------------------------------------------------------------------------------------------------ */

enum { MAX_LINES = 64, LINE_SIZE = 96 };
typedef struct {
    char line[MAX_LINES][LINE_SIZE];
    int count;
} identity;

/* Insertion keeps the lines sorted; there are few. */
static void add_line(identity *lines, const char *text) {
    int place = lines->count++;
    for (; place > 0 && strcmp(lines->line[place - 1], text) > 0; place--)
        memcpy(lines->line[place], lines->line[place - 1], LINE_SIZE);
    g_strlcpy(lines->line[place], text, LINE_SIZE);
}

static void add_option(identity *lines, const eab_option *option, const eab_config *config) {
    if (eab_option_get(option, config) == option->default_value) return;
    char value[40], text[LINE_SIZE];
    eab_option_print(option, config, value, sizeof value);
    snprintf(text, sizeof text, "%s.%s=%s", option->section, option->key, value);
    add_line(lines, text);
}

void eab_config_id(const eab_config *config, char id[17]) {
    identity lines = {.count = 0};
    char text[LINE_SIZE];
    snprintf(text, sizeof text, "task=%s", eab_task_at(config->level.family)->name);
    add_line(&lines, text);
    for (int i = 0; eab_option_of_task(config->level.family, i); i++)
        add_option(&lines, eab_option_of_task(config->level.family, i), config);
    for (int i = 0; i < eab_option_count; i++) add_option(&lines, &eab_options[i], config);

    GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256);
    for (int i = 0; i < lines.count; i++) {
        g_checksum_update(checksum, (const guchar *)lines.line[i], -1);
        g_checksum_update(checksum, (const guchar *)"\n", 1);
    }
    g_strlcpy(id, g_checksum_get_string(checksum), 17);
    g_checksum_free(checksum);
}
