#include "evaluate.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "spec/cell_task.h"

/* Lets the model continue every sequence of the batch from its own predictions, greedily. Attention is causal, so
 * putting all predictions in at once and repeating reaches the same tokens as one after another: after n rounds the
 * first n are final. A model that is right everywhere needs no round at all. On return tokens->rollout holds the
 * batch's tally. */
static int roll_out(eab_model *model, eab_fleet_tokens *tokens) {
    const eab_backend *backend = model->device->backend;
    const size_t bytes = (size_t)model->shape.members * sizeof(eab_tally);
    for (int32_t round = 0; round < model->shape.context; round++) {
        int64_t changed;
        EAB_TRY(backend->feed_back(model->device, &tokens->generate, tokens->targets, tokens->predictions,
                                   tokens->inputs, tokens->changed));
        EAB_TRY(backend->download(model->device, &changed, tokens->changed, sizeof changed));
        if (changed == 0) break;
        EAB_TRY(backend->zero(model->device, tokens->rollout, bytes));
        EAB_TRY(eab_model_pass(model, tokens->inputs, tokens->targets, NULL, tokens->rollout, tokens->predictions));
    }
    return EAB_OK;
}

static void add_tally(eab_tally *sum, const eab_tally *more) {
    sum->loss_nats += more->loss_nats;
    sum->tokens += more->tokens;
    sum->tokens_right += more->tokens_right;
    sum->sequences += more->sequences;
    sum->sequences_right += more->sequences_right;
}

/* A continuation costs up to `context` passes, so a quarter of the tokens has to do. Counted for each member by itself,
 * so that its figure does not depend on the fleet. */
static bool wants_rollout(const eab_evaluation *evaluation, int64_t wanted) {
    return 4 * evaluation->rollout_tokens < wanted;
}

static int32_t part_count(const eab_fleet_tokens *tokens, int32_t member) {
    return eab_generate_parts(&tokens->generate, member).count;
}

int32_t eab_most_parts(const eab_fleet_tokens *tokens, int32_t members) {
    int32_t most = 1;
    for (int32_t member = 0; member < members; member++)
        if (part_count(tokens, member) > most) most = part_count(tokens, member);
    return most;
}

eab_evaluation eab_evaluation_sum(const eab_evaluation *parts, int32_t count) {
    eab_evaluation sum = {.sequences = 0};
    for (int32_t i = 0; i < count; i++) {
        add_tally(&sum.tally, &parts[i].tally);
        sum.rollout_tokens += parts[i].rollout_tokens;
        sum.rollout_right += parts[i].rollout_right;
        sum.sequences += parts[i].sequences;
    }
    return sum;
}

/* Host copies of what a batch gave, [members]. */
typedef struct {
    eab_tally *batch, *rolled;
} batch_tallies;

/* One batch of part tokens->generate.only, sequences first, first + 1, ...: forward, and the continuations if
 * `rolling`. */
static int evaluate_batch(eab_model *model, eab_fleet_tokens *tokens, uint64_t first, bool rolling,
                          const batch_tallies *tallies) {
    const eab_backend *backend = model->device->backend;
    const size_t bytes = (size_t)model->shape.members * sizeof(eab_tally);
    tokens->generate.first_index = first;
    EAB_TRY(backend->generate(model->device, &tokens->generate, tokens->inputs, tokens->targets, tokens->counts));
    EAB_TRY(backend->zero(model->device, tokens->tally, bytes));
    EAB_TRY(eab_model_pass(model, tokens->inputs, tokens->targets, NULL, tokens->tally, tokens->predictions));
    if (rolling) {
        EAB_TRY(backend->copy(model->device, tokens->rollout, tokens->tally, bytes));
        EAB_TRY(roll_out(model, tokens));
        EAB_TRY(backend->download(model->device, tallies->rolled, tokens->rollout, bytes));
    }
    return backend->download(model->device, tallies->batch, tokens->tally, bytes);
}

/* evaluations: the part's of the first member; those of the next are `stride` further. */
static int evaluate_part(eab_model *model, eab_fleet_tokens *tokens, int32_t part, bool rollout,
                         const atomic_bool *stop, const batch_tallies *tallies, eab_evaluation *evaluations,
                         int32_t stride) {
    const int32_t members = model->shape.members;
    const int64_t wanted = model->config.eval_tokens;
    bool all_done = false, rolling = rollout;
    tokens->generate.only = part + 1;
    for (uint64_t first = 0; !all_done; first += (uint64_t)model->batch) {
        if (stop && atomic_load_explicit(stop, memory_order_relaxed)) return eab_fail(EAB_INTERRUPTED, "interrupted");
        EAB_TRY(evaluate_batch(model, tokens, first, rolling, tallies));
        const bool rolled_out = rolling;
        all_done = true;
        rolling = false;
        for (int32_t member = 0; member < members; member++) {
            eab_evaluation *evaluation = &evaluations[(int64_t)member * stride];
            if (part >= part_count(tokens, member) || evaluation->tally.tokens >= wanted) continue;
            add_tally(&evaluation->tally, &tallies->batch[member]);
            evaluation->sequences += model->batch;
            if (rolled_out && wants_rollout(evaluation, wanted)) {
                evaluation->rollout_tokens += tallies->rolled[member].tokens;
                evaluation->rollout_right += tallies->rolled[member].tokens_right;
            }
            if (evaluation->tally.tokens < wanted) all_done = false;
            if (rollout && wants_rollout(evaluation, wanted)) rolling = true;
        }
    }
    return EAB_OK;
}

int eab_evaluate(eab_model *model, eab_fleet_tokens *tokens, uint32_t stream, bool rollout, const atomic_bool *stop,
                 eab_evaluation *evaluations) {
    const int32_t members = model->shape.members, most = eab_most_parts(tokens, members);
    const size_t bytes = (size_t)members * sizeof(eab_tally);
    const batch_tallies tallies = {malloc(bytes), malloc(bytes)};
    int status = EAB_OK;
    if (!tallies.batch || !tallies.rolled) status = eab_fail(EAB_NO_MEMORY, "no memory for %d tallies", members);
    memset(evaluations, 0, (size_t)members * (size_t)most * sizeof *evaluations);
    tokens->generate.stream = stream;
    tokens->generate.members = members;
    for (int32_t part = 0; part < most && !status; part++)
        status = evaluate_part(model, tokens, part, rollout, stop, &tallies, &evaluations[part], most);
    tokens->generate.only = 0;
    free(tallies.batch);
    free(tallies.rolled);
    return status;
}

static guint64 sequence_key(const eab_config *config, int32_t part, uint32_t stream, int64_t index, int32_t *tokens,
                            uint8_t *determined) {
    return eab_sequence_generate(eab_config_part(config, part), (uint32_t)config->seed, stream,
                                 eab_config_part_held_out(config, part), (uint64_t)index,
                                 eab_config_part_context(config) + 1, tokens, determined);
}

int eab_seen_share(const eab_config *config, int32_t part, int64_t sequences, int64_t trained, double *share) {
    *share = 0;
    /* a held-out set keeps the two apart by construction: the training stream throws its sequences away */
    if (eab_config_part_held_out(config, part) || sequences == 0) return EAB_OK;
    const size_t length = (size_t)config->context + 1;
    int32_t *tokens = malloc(length * sizeof *tokens);
    uint8_t *determined = malloc(length);
    guint64 *keys = malloc((size_t)sequences * sizeof *keys);
    bool *seen = calloc((size_t)sequences, sizeof *seen);
    int status = EAB_OK;
    if (!tokens || !determined || !keys || !seen)
        status = eab_fail(EAB_NO_MEMORY, "no memory for the keys of %lld sequences", (long long)sequences);
    if (!status) {
        GHashTable *first_with_key = g_hash_table_new(g_int64_hash, g_int64_equal);
        for (int64_t i = 0; i < sequences; i++) {
            keys[i] = sequence_key(config, part, EAB_STREAM_HELD_OUT, i, tokens, determined);
            if (!g_hash_table_contains(first_with_key, &keys[i]))
                g_hash_table_insert(first_with_key, &keys[i], &seen[i]);
        }
        guint left = g_hash_table_size(first_with_key);
        for (int64_t i = 0; i < trained && left > 0; i++) {
            guint64 key = sequence_key(config, part, EAB_STREAM_TRAINING, i, tokens, determined);
            bool *mark = g_hash_table_lookup(first_with_key, &key);
            if (!mark || *mark) continue;
            *mark = true;
            left--;
        }
        int64_t count = 0;
        for (int64_t i = 0; i < sequences; i++) count += *(bool *)g_hash_table_lookup(first_with_key, &keys[i]);
        *share = (double)count / (double)sequences;
        g_hash_table_destroy(first_with_key);
    }
    free(tokens);
    free(determined);
    free(keys);
    free(seen);
    return status;
}
