#include "validate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/system.h"
#include "kernels/mechanism.h"
#include "model/cost.h"
#include "model/network.h"
#include "spec/cell_task.h"
#include "tasks/task.h"

enum { MAX_HEAD_DIM = 256 };

/* "[task recurrence] basis=8 delay=4", or "[task mixture] recurrence(basis=8 delay=4)" for one of its parts. */
static void name_level(const eab_config *config, const eab_level *part, char *text, size_t size) {
    char level[256];
    const char *family = eab_task_at(part->family)->name;
    eab_level_name(part, level, sizeof level);
    if (config->mixture) snprintf(text, size, "[task mixture] %s(%s)", family, level);
    else snprintf(text, size, "[task %s] %s", family, level);
}

static int check_heads(const eab_config *config) {
    const int32_t d_model = config->d_model, heads = config->heads;
    if (d_model % heads) {
        const int32_t below = d_model - d_model % heads, above = below + heads;
        const int32_t largest = (int32_t)eab_option_find("model", "d_model")->maximum;
        char allowed[64];
        if (!below) snprintf(allowed, sizeof allowed, "%d, for example", above);
        else if (above > largest) snprintf(allowed, sizeof allowed, "%d, for example", below);
        else snprintf(allowed, sizeof allowed, "%d or %d, for example", below, above);
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

static int check_part(const eab_config *config, const eab_level *part) {
    const eab_task *task = eab_task_at(part->family);
    const int32_t context = eab_config_part_context(config);
    char level[320], message[256];
    const bool possible = task->check(part, context, message, sizeof message);
    if (part->text && config->heldout == EAB_HELD_OUT_HASH)
        return eab_fail(EAB_BAD_INPUT,
                        "[train] heldout = hash: [task text] cuts its file by share; allowed: auto, none");
    if (config->mixture && task->evaluated && task->evaluated(part, 0, NULL)) {
        name_level(config, part, level, sizeof level);
        return eab_fail(EAB_BAD_INPUT,
                        "%s: a part of a mixture is evaluated as it is trained; allowed: no test_ options", level);
    }
    if (possible && (config->heldout != EAB_HELD_OUT_HASH || eab_level_has_held_out(part, context))) return EAB_OK;
    name_level(config, part, level, sizeof level);
    if (!possible)
        return eab_fail(EAB_BAD_INPUT, "%s: %s%s", level, message,
                        context < config->context ? " (one less than the model's, for the task token)" : "");
    return eab_fail(EAB_BAD_INPUT,
                    "[train] heldout = hash: too few sequences in %s to set some apart; allowed: auto, none, or a "
                    "larger level",
                    level);
}

static int check_vocab(const eab_config *config) {
    const int32_t vocab = eab_config_vocab(config);
    char level[320] = "[task mixture]";
    if (config->embedding != EAB_EMBEDDING_ONEHOT || config->d_model >= vocab) return EAB_OK;
    if (!config->mixture) name_level(config, &config->level, level, sizeof level);
    const int32_t largest = (int32_t)eab_option_find("model", "d_model")->maximum;
    char wider[48] = "";
    if (vocab <= largest) snprintf(wider, sizeof wider, "d_model %d..%d, or ", vocab, largest);
    return eab_fail(EAB_BAD_INPUT,
                    "[model] embedding = onehot, d_model = %d: less than the %d tokens of %s; allowed: %sembedding = "
                    "learned",
                    config->d_model, vocab, level, wider);
}

static int check_level(const eab_config *config) {
    for (int32_t i = 0; i < eab_config_part_count(config); i++) EAB_TRY(check_part(config, eab_config_part(config, i)));
    return EAB_OK;
}

static int check_positions(const eab_config *config) {
    const double positions = (double)config->batch * (config->context + 1);
    if (positions <= INT32_MAX) return EAB_OK; /* rows have 32-bit indices */
    return eab_fail(EAB_BAD_INPUT,
                    "[train] batch = %d, [model] context = %d: batch * (context + 1) = %.0f tokens a step; allowed: "
                    "at most %d",
                    config->batch, config->context, positions, INT32_MAX);
}

/* Whether the bytes [begin, end) are the same; other bytes of equal values only cost a check. */
static bool are_alike(const eab_config *a, const eab_config *b, size_t begin, size_t end) {
    return memcmp((const char *)a + begin, (const char *)b + begin, end - begin) == 0;
}

bool eab_config_checks_alike(const eab_config *a, const eab_config *b) {
    const size_t lr = offsetof(eab_config, lr), seed = offsetof(eab_config, seed);
    return are_alike(a, b, 0, lr) && are_alike(a, b, lr + sizeof a->lr, seed) &&
           are_alike(a, b, seed + sizeof a->seed, sizeof *a);
}

static int check_mix(const eab_config *config) {
    if (config->mechanism != EAB_MECHANISM_mix || config->mix > 0) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "[train] mechanism = mix without mix; allowed: mix = %g..%g", (double)EAB_MIX_LEAST,
                    (double)EAB_MIX_MOST);
}

static int check_sequences(const eab_config *config) {
    const int32_t parts = eab_config_part_count(config);
    if (!config->sequences || config->sequences >= parts) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT,
                    "[train] sequences = %lld: fewer than the %d parts of [task mixture]; allowed: at least %d, or 0: "
                    "new sequences at each step",
                    (long long)config->sequences, parts, parts);
}

int eab_config_check_model(const eab_config *config) {
    EAB_TRY(check_heads(config));
    EAB_TRY(check_vocab(config));
    EAB_TRY(check_mix(config));
    return check_positions(config);
}

int eab_config_check(const eab_config *config) {
    EAB_TRY(eab_config_check_model(config));
    EAB_TRY(check_level(config));
    return check_sequences(config);
}

static double available_bytes(eab_device *device) {
    size_t free_bytes;
    int64_t threads;
    if (!device->backend->capacity) return eab_system_memory_bytes() - eab_system_resident_bytes();
    return device->backend->capacity(device, &free_bytes, &threads) ? HUGE_VAL : (double)free_bytes;
}

int eab_plan_check_memory(const eab_plan *plan, eab_device *device, double *fitting) {
    const eab_backend *backend = device->backend;
    const double available = available_bytes(device);
    const eab_config *largest = NULL;
    double most = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        if (i && eab_config_checks_alike(&plan->cells[i].config, &plan->cells[i - 1].config)) continue;
        const double bytes = eab_config_memory_bytes(backend, &plan->cells[i].config);
        if (bytes > most) largest = &plan->cells[i].config;
        most = fmax(most, bytes);
    }
    *fitting = available / most;
    if (most <= available) return EAB_OK;
    char text[128] = "";
    if (backend->capacity && largest->level.text)
        snprintf(text, sizeof text, "%s of %lld tokens, ", largest->level.text->shown,
                 (long long)eab_text_of(&largest->level)->count);
    return eab_fail(EAB_BAD_INPUT,
                    "[train] batch = %d, [model] context = %d, layers = %d, d_model = %d: does not fit in memory: "
                    "%s%lld parameters, %d sequences of tokens and the activations of %d at a time take %.3g GB; "
                    "allowed: at most the %.3g GB here",
                    largest->batch, largest->context, largest->layers, largest->d_model, text,
                    (long long)eab_config_parameters(largest), largest->batch, eab_model_micro_batch(backend, largest),
                    most / 1e9, available / 1e9);
}
