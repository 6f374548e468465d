#include "finish.h"

#include <glib.h>
#include <math.h>
#include <stdio.h>

#include "geometry.h"
#include "kernels/clock.h"
#include "safetensors.h"
#include "spec/cell_task.h"

/* If the model cannot be saved, its cell fails, and the fleet continues. */
static int save_model(const eab_fleet_state *fleet, int32_t member, const char *path, eab_cell_result *result) {
    const eab_model *model = &fleet->model;
    const eab_config *config = &fleet->configs[fleet->cell[member]];
    const int status = eab_safetensors_write_model(path, config, &model->parameters, "F32", model->device,
                                                   eab_model_member(model, model->weights, member));
    if (status != EAB_IO && status != EAB_NO_MEMORY) return status;
    eab_cell_result_free(result);
    eab_cell_result_failed(result, config, status == EAB_IO ? EAB_CELL_FAIL : EAB_CELL_OOM, eab_last_error());
    return EAB_OK;
}

/* All held-out scores except seen_share. */
static void take_scores(const eab_evaluation *held_out, eab_cell_scores *scores) {
    const eab_tally *tally = &held_out->tally;
    scores->loss_nats = tally->loss_nats / (double)tally->tokens;
    scores->token_accuracy = (double)tally->tokens_right / (double)tally->tokens;
    scores->sequence_accuracy = (double)tally->sequences_right / (double)tally->sequences;
    scores->rollout_accuracy = (double)held_out->rollout_right / (double)held_out->rollout_tokens;
    scores->solved = tally->tokens_right == tally->tokens;
}

/* The cell's own scores are computed from the sums of its parts' counts. held_out: its parts' evaluations. */
static void take_all_scores(const eab_config *config, int64_t trained_sequences, const eab_evaluation *held_out,
                            eab_cell_result *result) {
    const int32_t count = eab_config_part_count(config);
    const eab_evaluation all = eab_evaluation_sum(held_out, count);
    const int64_t different = config->sequences ? MIN(trained_sequences, config->sequences) : trained_sequences;
    double share = 0, seen = 0;
    for (int32_t part = 0; part < count; part++) {
        share =
            eab_seen_share(config, part, held_out[part].sequences, eab_config_part_sequences(config, part, different));
        seen += share * (double)held_out[part].sequences;
        if (!config->mixture) continue;
        take_scores(&held_out[part], &result->parts[part]);
        result->parts[part].seen_share = share;
    }
    take_scores(&all, &result->scores);
    result->scores.seen_share = count == 1 ? share : seen / (double)all.sequences;
}

static void finish_hopeless(const eab_config *config, eab_cell_result *result) {
    result->status = EAB_CELL_TIMEOUT;
    snprintf(result->reason, sizeof result->reason,
             "abandoned at step %lld of %lld: validation accuracy %.3f, chance is %.3f", (long long)result->steps_done,
             (long long)config->steps, result->scores.validation_accuracy, eab_config_chance_accuracy(config));
}

static void finish_diverged(eab_cell_result *result) {
    result->status = EAB_CELL_DIVERGED;
    snprintf(result->reason, sizeof result->reason, "the loss was not finite by step %lld",
             (long long)result->steps_done);
    eab_cell_result_clear(result);
}

static int finish_done(eab_fleet_state *fleet, int32_t member, const eab_evaluation *held_out,
                       eab_cell_result *result) {
    const int32_t cell = fleet->cell[member];
    const eab_config *config = &fleet->configs[cell];
    result->status = EAB_CELL_OK;
    take_all_scores(config, fleet->step * config->batch, held_out, result);
    return fleet->options->model_paths ? save_model(fleet, member, fleet->options->model_paths[cell], result) : EAB_OK;
}

/* held_out: the evaluations of the member's parts; read only if it is done. */
static int finish_member(eab_fleet_state *fleet, int32_t member, eab_leaving leaving, const eab_evaluation *held_out) {
    const eab_config *config = &fleet->configs[fleet->cell[member]];
    eab_cell_result *result = &fleet->results[fleet->cell[member]];
    result->steps_done = fleet->step;
    result->tokens = fleet->step * config->batch * config->context;
    result->train_s = fleet->training_s;
    result->wall_s = eab_now_s() - fleet->started_s;
    result->load = eab_load_between(fleet->started_load, eab_system_load());
    result->stopped = fleet->stopped;
    result->fleet_tokens = fleet->trained_tokens;
    result->memory_bytes = (int64_t)fleet->model.device->peak_bytes;
    if (leaving == EAB_HOPELESS) finish_hopeless(config, result);
    if (leaving == EAB_DIVERGED) finish_diverged(result);
    return leaving == EAB_DONE ? finish_done(fleet, member, held_out, result) : EAB_OK;
}

/* Evaluates one of the first `count` members' other levels: the one of this index, where a member has it. The fleet's
 * own levels are to be put back. */
static int evaluate_level(eab_fleet_state *fleet, int32_t count, int32_t index, eab_level *levels, uint8_t *held_out,
                          eab_parts *parts) {
    eab_generate_args *generate = &fleet->tokens.generate;
    for (int32_t member = 0; member < count; member++) {
        const eab_config *config = &fleet->configs[fleet->cell[member]];
        const bool has = index < eab_config_evaluated_count(config);
        levels[member] = has ? eab_config_evaluated(config, index) : config->level;
        held_out[member] = eab_config_holds_out(config, &levels[member]);
        parts[member] = (eab_parts){member, has, -1};
    }
    generate->levels = levels;
    generate->held_out = held_out;
    generate->parts = parts;
    EAB_TRY(eab_evaluate(&fleet->model, &fleet->tokens, EAB_STREAM_HELD_OUT, false, fleet->options->stop,
                         fleet->evaluations));
    for (int32_t member = 0; member < count; member++) {
        eab_cell_result *result = &fleet->results[fleet->cell[member]];
        if (!parts[member].count) continue;
        take_scores(&fleet->evaluations[member], &result->parts[index]);
        result->parts[index].validation_accuracy = result->scores.validation_accuracy;
        result->parts[index].seen_share = held_out[member] ? 0 : NAN;
    }
    return EAB_OK;
}

/* Evaluates the first `count` members, the only ones in the model, at the other levels of their cells. Rollouts, which
 * take many passes, are left out. */
static int evaluate_levels(eab_fleet_state *fleet, int32_t count) {
    const eab_generate_args own = fleet->tokens.generate;
    int32_t most = 0;
    for (int32_t member = 0; member < count; member++)
        most = MAX(most, eab_config_evaluated_count(&fleet->configs[fleet->cell[member]]));
    if (!most) return EAB_OK;
    eab_level *levels = g_new0(eab_level, count);
    uint8_t *held_out = g_new0(uint8_t, count);
    eab_parts *parts = g_new0(eab_parts, count);
    int status = EAB_OK;
    for (int32_t index = 0; index < most && !status; index++)
        status = evaluate_level(fleet, count, index, levels, held_out, parts);
    fleet->tokens.generate = own;
    g_free(levels);
    g_free(held_out);
    g_free(parts);
    return status;
}

/* Evaluates only the first `count` members on the held-out stream. */
static int evaluate_first(eab_fleet_state *fleet, int32_t count) {
    const int32_t members = fleet->model.shape.members;
    fleet->model.shape.members = count;
    int status = evaluate_levels(fleet, count);
    if (!status)
        status = eab_evaluate(&fleet->model, &fleet->tokens, EAB_STREAM_HELD_OUT, true, fleet->options->stop,
                              fleet->evaluations);
    if (!status && fleet->options->geometry_paths) status = eab_fleet_measure_geometry(fleet);
    fleet->model.shape.members = members;
    return status;
}

/* Moves the members that are done to the front: the held-out evaluation takes up to `context` passes, so it should run
 * only on them. *done: their number. */
static int move_done_to_front(eab_fleet_state *fleet, eab_leaving *leaving, int32_t *done) {
    *done = 0;
    for (int32_t member = 0; member < fleet->model.shape.members; member++) {
        if (leaving[member] != EAB_DONE) continue;
        if (member != *done) EAB_TRY(eab_fleet_swap(fleet, *done, member));
        leaving[member] = leaving[*done];
        leaving[(*done)++] = EAB_DONE;
    }
    return EAB_OK;
}

int eab_fleet_finish(eab_fleet_state *fleet, eab_leaving *leaving) {
    int32_t done;
    EAB_TRY(move_done_to_front(fleet, leaving, &done));
    if (done) EAB_TRY(evaluate_first(fleet, done));
    const int32_t stride = eab_most_parts(&fleet->tokens, done);
    for (int32_t member = 0; member < fleet->model.shape.members; member++)
        if (leaving[member] != EAB_STAYS)
            EAB_TRY(finish_member(fleet, member, leaving[member], &fleet->evaluations[(int64_t)member * stride]));
    for (int32_t member = fleet->model.shape.members - 1; member >= 0; member--)
        if (leaving[member] != EAB_STAYS) EAB_TRY(eab_fleet_remove(fleet, member));
    return EAB_OK;
}
