#include "evaluate.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "train.h"

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

int eab_evaluate(eab_model *model, eab_fleet_tokens *tokens, uint32_t stream, bool rollout, const atomic_bool *stop,
                 eab_evaluation *evaluations) {
    const eab_backend *backend = model->device->backend;
    const int32_t members = model->shape.members;
    const size_t bytes = (size_t)members * sizeof(eab_tally);
    const int64_t wanted = model->config.eval_tokens;
    eab_tally *batch = malloc(bytes), *rolled = malloc(bytes);
    int status = batch && rolled ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for %d tallies", members);
    memset(evaluations, 0, (size_t)members * sizeof *evaluations);
    bool all_done = false, rolling = rollout;
    for (uint64_t first = 0; !status && !all_done; first += (uint64_t)model->batch) {
        if (stop && atomic_load_explicit(stop, memory_order_relaxed)) {
            status = eab_fail(EAB_INTERRUPTED, "interrupted");
            break;
        }
        tokens->generate.stream = stream;
        tokens->generate.first_index = first;
        tokens->generate.members = members;
        status = backend->generate(model->device, &tokens->generate, tokens->inputs, tokens->targets, tokens->counts);
        if (!status) status = backend->zero(model->device, tokens->tally, bytes);
        if (!status)
            status = eab_model_pass(model, tokens->inputs, tokens->targets, NULL, tokens->tally, tokens->predictions);
        if (!status && rolling) {
            status = backend->copy(model->device, tokens->rollout, tokens->tally, bytes);
            if (!status) status = roll_out(model, tokens);
            if (!status) status = backend->download(model->device, rolled, tokens->rollout, bytes);
        }
        if (!status) status = backend->download(model->device, batch, tokens->tally, bytes);
        if (status) break;
        const bool rolled_out = rolling;
        all_done = true;
        rolling = false;
        for (int32_t member = 0; member < members; member++) {
            eab_evaluation *evaluation = &evaluations[member];
            if (evaluation->tally.tokens >= wanted) continue;
            add_tally(&evaluation->tally, &batch[member]);
            evaluation->sequences += model->batch;
            if (rolled_out && wants_rollout(evaluation, wanted)) {
                evaluation->rollout_tokens += rolled[member].tokens;
                evaluation->rollout_right += rolled[member].tokens_right;
            }
            if (evaluation->tally.tokens < wanted) all_done = false;
            if (rollout && wants_rollout(evaluation, wanted)) rolling = true;
        }
    }
    free(batch);
    free(rolled);
    return status;
}

static guint64 sequence_key(const eab_config *config, uint32_t stream, int64_t index, int32_t *tokens,
                            uint8_t *determined) {
    return eab_sequence_generate(&config->level, (uint32_t)config->seed, stream, eab_config_held_out(config),
                                 (uint64_t)index, config->context + 1, tokens, determined);
}

int eab_seen_share(const eab_config *config, int64_t sequences, int64_t trained, double *share) {
    *share = 0;
    /* a held-out set keeps the two apart by construction: the training stream throws its sequences away */
    if (eab_config_held_out(config) || sequences == 0) return EAB_OK;
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
            keys[i] = sequence_key(config, EAB_STREAM_HELD_OUT, i, tokens, determined);
            if (!g_hash_table_contains(first_with_key, &keys[i]))
                g_hash_table_insert(first_with_key, &keys[i], &seen[i]);
        }
        guint left = g_hash_table_size(first_with_key);
        for (int64_t i = 0; i < trained && left > 0; i++) {
            guint64 key = sequence_key(config, EAB_STREAM_TRAINING, i, tokens, determined);
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
