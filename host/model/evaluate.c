#include "evaluate.h"

#include <glib.h>
#include <string.h>

#include "spec/cell_task.h"

/* Continues every sequence of the batch greedily from the model's own predictions. Attention is causal, so each round
 * feeds back all predictions at once: after n rounds the first n tokens are those of generation token by token. A model
 * with no wrong prediction needs no round. On return tokens->rollout holds the batch's tally. */
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

static int32_t part_count(const eab_fleet_tokens *tokens, int32_t member) {
    return eab_generate_parts(&tokens->generate, member).count;
}

/* A rollout takes up to `context` passes, so it covers only a quarter of the tokens. Counted for each member
 * separately, so that its score does not depend on the fleet. The first token of a text does not determine the others,
 * so a continuation has nothing to be compared with. */
static bool needs_rollout(const eab_fleet_tokens *tokens, int32_t member, const eab_evaluation *evaluation,
                          int64_t eval_tokens) {
    const eab_generate_args *generate = &tokens->generate;
    return !generate->levels[eab_generate_parts(generate, member).first].text &&
           4 * evaluation->rollout_tokens < eval_tokens;
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

/* An evaluation in progress. */
typedef struct {
    eab_model *model;
    eab_fleet_tokens *tokens;
    bool rollout;
    const atomic_bool *stop;
    eab_tally *batch, *rolled; /* [members]: host copies of a batch's tallies */
} evaluation_run;

/* Evaluates one batch of part tokens->generate.only, from sequence `first` on, with a rollout if `rolling`. */
static int evaluate_batch(const evaluation_run *run, uint64_t first, bool rolling) {
    eab_model *model = run->model;
    eab_fleet_tokens *tokens = run->tokens;
    const eab_backend *backend = model->device->backend;
    const size_t bytes = (size_t)model->shape.members * sizeof(eab_tally);
    tokens->generate.first_index = first;
    EAB_TRY(backend->generate(model->device, &tokens->generate, tokens->inputs, tokens->targets, tokens->counts));
    EAB_TRY(backend->zero(model->device, tokens->tally, bytes));
    EAB_TRY(eab_model_pass(model, tokens->inputs, tokens->targets, NULL, tokens->tally, tokens->predictions));
    if (rolling) {
        EAB_TRY(backend->copy(model->device, tokens->rollout, tokens->tally, bytes));
        EAB_TRY(roll_out(model, tokens));
        EAB_TRY(backend->download(model->device, run->rolled, tokens->rollout, bytes));
    }
    return backend->download(model->device, run->batch, tokens->tally, bytes);
}

/* Adds the batch to a member's evaluation, if that is incomplete. */
static void add_batch(const evaluation_run *run, int32_t member, bool rolling, eab_evaluation *evaluation) {
    const int64_t wanted = run->model->config.eval_tokens;
    if (evaluation->tally.tokens >= wanted) return;
    add_tally(&evaluation->tally, &run->batch[member]);
    evaluation->sequences += run->model->batch;
    if (!rolling || !needs_rollout(run->tokens, member, evaluation, wanted)) return;
    evaluation->rollout_tokens += run->rolled[member].tokens;
    evaluation->rollout_right += run->rolled[member].tokens_right;
}

/* evaluations: the first is of member 0's part; those of the other members follow at intervals of `stride`. */
static int evaluate_part(const evaluation_run *run, int32_t part, eab_evaluation *evaluations, int32_t stride) {
    const eab_model *model = run->model;
    const int64_t wanted = model->config.eval_tokens;
    bool incomplete = true, rolling = false;
    run->tokens->generate.only = part + 1;
    for (int32_t member = 0; member < model->shape.members && run->rollout; member++)
        rolling = rolling || needs_rollout(run->tokens, member, &evaluations[(int64_t)member * stride], wanted);
    for (uint64_t first = 0; incomplete; first += (uint64_t)model->batch) {
        if (run->stop && atomic_load_explicit(run->stop, memory_order_relaxed))
            return eab_fail(EAB_INTERRUPTED, "interrupted");
        EAB_TRY(evaluate_batch(run, first, rolling));
        bool next_rolling = false;
        incomplete = false;
        for (int32_t member = 0; member < model->shape.members; member++) {
            eab_evaluation *evaluation = &evaluations[(int64_t)member * stride];
            if (part >= part_count(run->tokens, member)) continue;
            add_batch(run, member, rolling, evaluation);
            if (evaluation->tally.tokens >= wanted) continue;
            incomplete = true;
            if (run->rollout && needs_rollout(run->tokens, member, evaluation, wanted)) next_rolling = true;
        }
        rolling = next_rolling;
    }
    return EAB_OK;
}

int eab_evaluate(eab_model *model, eab_fleet_tokens *tokens, uint32_t stream, bool rollout, const atomic_bool *stop,
                 eab_evaluation *evaluations) {
    const int32_t members = model->shape.members, most = eab_most_parts(tokens, members);
    const evaluation_run run = {model, tokens, rollout, stop, g_new(eab_tally, members), g_new(eab_tally, members)};
    int status = EAB_OK;
    memset(evaluations, 0, (size_t)members * (size_t)most * sizeof *evaluations);
    tokens->generate.stream = stream;
    tokens->generate.repeat_after = 0;
    tokens->generate.members = members;
    for (int32_t part = 0; part < most && !status; part++) status = evaluate_part(&run, part, &evaluations[part], most);
    tokens->generate.only = 0;
    g_free(run.batch);
    g_free(run.rolled);
    return status;
}

/* ---- seen sequences ------------------------------------------------------------------------------------------ */

/* Generates sequences of one part. */
typedef struct {
    const eab_config *config;
    int32_t part;
    int32_t *tokens; /* [context + 1] */
    uint8_t *determined;
} sequence_source;

static gint64 sequence_key(const sequence_source *source, uint32_t stream, int64_t index) {
    const eab_config *config = source->config;
    return (gint64)eab_sequence_generate(eab_config_part(config, source->part), (uint32_t)config->seed, stream,
                                         eab_config_part_held_out(config, source->part), (uint64_t)index,
                                         eab_config_part_context(config) + 1, source->tokens, source->determined);
}

/* How many of the first `sequences` held-out sequences are among the first `trained` training sequences. */
static int64_t count_seen(const sequence_source *source, int64_t sequences, int64_t trained) {
    GHashTable *unseen =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL); /* key: number of such sequences */
    for (int64_t i = 0; i < sequences; i++) {
        const gint64 key = sequence_key(source, EAB_STREAM_HELD_OUT, i);
        const gsize count = GPOINTER_TO_SIZE(g_hash_table_lookup(unseen, &key));
        g_hash_table_insert(unseen, g_memdup2(&key, sizeof key), GSIZE_TO_POINTER(count + 1));
    }
    int64_t seen = 0;
    for (int64_t i = 0; i < trained && g_hash_table_size(unseen); i++) {
        const gint64 key = sequence_key(source, EAB_STREAM_TRAINING, i);
        seen += (int64_t)GPOINTER_TO_SIZE(g_hash_table_lookup(unseen, &key));
        g_hash_table_remove(unseen, &key);
    }
    g_hash_table_destroy(unseen);
    return seen;
}

double eab_seen_share(const eab_config *config, int32_t part, int64_t sequences, int64_t trained) {
    /* The training stream omits the sequences of a held-out set, and the other parts of a text. */
    if (eab_config_part_held_out(config, part) || eab_config_part(config, part)->text || sequences == 0) return 0;
    const sequence_source source = {config, part, g_new(int32_t, config->context + 1),
                                    g_new(uint8_t, config->context + 1)};
    const int64_t seen = count_seen(&source, sequences, trained);
    g_free(source.tokens);
    g_free(source.determined);
    return (double)seen / (double)sequences;
}
