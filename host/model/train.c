#include "train.h"

#include <glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "checkpoint.h"
#include "cost.h"
#include "finish.h"
#include "kernels/clock.h"
#include "spec/cell_task.h"
#include "step.h"

bool eab_train_same_fleet(const eab_config *a, const eab_config *b) {
    return a->layers == b->layers && a->d_model == b->d_model && a->heads == b->heads && a->mlp_ratio == b->mlp_ratio &&
           a->context == b->context && a->position == b->position && a->alibi_span == b->alibi_span &&
           a->norm == b->norm && a->qk_norm == b->qk_norm && a->activation == b->activation && a->bias == b->bias &&
           a->embedding == b->embedding && a->optimizer == b->optimizer && a->steps == b->steps &&
           a->batch == b->batch && a->eval_every == b->eval_every && a->eval_tokens == b->eval_tokens &&
           a->stop_when_solved == b->stop_when_solved && a->precision == b->precision && a->dropout == b->dropout &&
           a->sequences == b->sequences;
}

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

/* An interrupted evaluation is repeated, and its point replaces the first one. */
static int add_curve_point(eab_cell_result *result, eab_curve_point point) {
    const int32_t points = result->curve_points;
    if (points && result->curve[points - 1].step == point.step) {
        result->curve[points - 1] = point;
        return EAB_OK;
    }
    eab_curve_point *curve = realloc(result->curve, ((size_t)points + 1) * sizeof *curve);
    if (!curve) return eab_fail(EAB_NO_MEMORY, "no memory for a curve of %d points", points + 1);
    curve[points] = point;
    result->curve = curve;
    result->curve_points = points + 1;
    return EAB_OK;
}

static void take_part_validation(const eab_tally *tally, int64_t step, eab_cell_scores *scores) {
    scores->validation_accuracy = (double)tally->tokens_right / (double)tally->tokens;
    if (tally->tokens_right == tally->tokens && scores->steps_to_solve < 0) scores->steps_to_solve = step;
}

/* Returns whether the loss of the cell's parts was finite. */
static bool take_validation(const eab_config *config, int64_t step, const eab_evaluation *parts,
                            eab_cell_result *result) {
    const int32_t count = eab_config_part_count(config);
    const eab_tally all = eab_evaluation_sum(parts, count).tally;
    take_part_validation(&all, step, &result->scores);
    for (int32_t part = 0; part < count && config->mixture; part++)
        take_part_validation(&parts[part].tally, step, &result->parts[part]);
    return isfinite(all.loss_nats);
}

/* eab_train_options.abandon. Waits for half of the steps, because a level is often learned late and suddenly. */
static bool is_hopeless(const eab_config *config, int64_t step, double validation_accuracy) {
    const double chance = eab_config_chance_accuracy(config);
    return 2 * step >= config->steps && validation_accuracy < chance + 0.1 * (1 - chance);
}

/* Fills in the member's validation and decides whether it leaves. */
static int judge_member(eab_fleet_state *fleet, int32_t member, const eab_evaluation *parts, eab_leaving *leaving) {
    const eab_config *config = &fleet->configs[fleet->cell[member]];
    const eab_train_options *options = fleet->options;
    eab_cell_result *result = &fleet->results[fleet->cell[member]];
    const eab_tally *training = &fleet->training[member];
    const double loss = training->loss_nats / (double)training->tokens;
    const bool finite = take_validation(config, fleet->step, parts, result) && isfinite(loss);
    const bool solved = result->scores.validation_accuracy >= 1;
    *leaving = EAB_STAYS;
    if (!finite) *leaving = EAB_DIVERGED;
    else if (fleet->step == config->steps || (solved && config->stop_when_solved)) *leaving = EAB_DONE;
    else if (options->abandon && is_hopeless(config, fleet->step, result->scores.validation_accuracy))
        *leaving = EAB_HOPELESS;
    if (!finite || !options->keep_curves) return EAB_OK;
    return add_curve_point(result, (eab_curve_point){fleet->step, loss, result->scores.validation_accuracy});
}

/* Evaluates all members on the validation stream and finishes those that are done. */
static int evaluate(eab_fleet_state *fleet) {
    const int32_t members = fleet->model.shape.members, stride = eab_most_parts(&fleet->tokens, members);
    EAB_TRY(eab_evaluate(&fleet->model, &fleet->tokens, EAB_STREAM_VALIDATION, false, fleet->options->stop,
                         fleet->evaluations));
    eab_leaving *leaving = g_new0(eab_leaving, members);
    int status = EAB_OK;
    for (int32_t member = 0; member < members && !status; member++)
        status = judge_member(fleet, member, &fleet->evaluations[(int64_t)member * stride], &leaving[member]);
    if (!status) status = eab_fleet_finish(fleet, leaving);
    g_free(leaving);
    if (!status) fleet->evaluation_due = false;
    return status;
}

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

/* The largest share of the time that adaptive checkpoints take. */
static const double CHECKPOINT_SHARE = 0.001;

static void report(const eab_fleet_state *fleet) {
    const eab_train_checkpoint *checkpoint = fleet->options->checkpoint;
    if (checkpoint->report) checkpoint->report(checkpoint->context, eab_last_error());
}

/* Errors are reported; training continues. */
static void save(eab_fleet_state *fleet) {
    const eab_train_checkpoint *checkpoint = fleet->options->checkpoint;
    const double before_s = eab_now_s();
    if (eab_fleet_save(fleet)) report(fleet);
    fleet->checkpoint_s = eab_now_s();
    fleet->checkpoint_took_s = fleet->checkpoint_s - before_s;
    if (!checkpoint->saves) return;
    atomic_fetch_add(checkpoint->saves, 1);
    atomic_fetch_add(checkpoint->saves_ns, (int64_t)(1e9 * fleet->checkpoint_took_s));
}

static bool is_checkpoint_due(const eab_fleet_state *fleet) {
    const eab_train_checkpoint *checkpoint = fleet->options->checkpoint;
    if (!checkpoint) return false;
    const double least_s = checkpoint->adaptive ? fleet->checkpoint_took_s / CHECKPOINT_SHARE : 0;
    return eab_now_s() - fleet->checkpoint_s >= fmax(checkpoint->every_s, least_s);
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

static bool is_stopped(const eab_fleet_state *fleet) {
    const atomic_bool *stop = fleet->options->stop;
    return stop && atomic_load_explicit(stop, memory_order_relaxed);
}

/* Reads the training tallies for the evaluation, and starts new ones. */
static int take_tallies(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    EAB_TRY(eab_fleet_read_tallies(fleet));
    return device->backend->zero(device, fleet->tokens.training,
                                 (size_t)fleet->model.shape.members * sizeof(eab_tally));
}

/* Trains up to the next evaluation, or until a checkpoint is due or `stop` is set. */
static int train_to_evaluation(eab_fleet_state *fleet) {
    const eab_config *shared = &fleet->configs[0];
    const int64_t next = fleet->step + shared->eval_every - fleet->step % shared->eval_every;
    const int64_t end = MIN(next, shared->steps);
    const int32_t members = fleet->model.shape.members;
    const double before_s = eab_now_s();
    const int continued = eab_interrupt_continued();
    bool stop = is_stopped(fleet);
    while (!stop) {
        EAB_TRY(eab_fleet_step(fleet));
        if (fleet->options->steps_done)
            atomic_fetch_add_explicit(fleet->options->steps_done, members, memory_order_relaxed);
        fleet->trained_tokens += (int64_t)members * shared->batch * shared->context;
        if (fleet->step == end || is_checkpoint_due(fleet)) break;
        stop = is_stopped(fleet);
    }
    EAB_TRY(fleet->model.device->backend->synchronize(fleet->model.device));
    fleet->training_s += eab_now_s() - before_s;
    fleet->stopped = fleet->stopped || eab_interrupt_continued() != continued;
    if (stop) return eab_fail(EAB_INTERRUPTED, "interrupted");
    fleet->evaluation_due = fleet->step == end;
    return fleet->evaluation_due ? take_tallies(fleet) : EAB_OK;
}

static int train(eab_fleet_state *fleet) {
    fleet->checkpoint_s = eab_now_s();
    while (fleet->model.shape.members > 0) {
        if (!fleet->evaluation_due) EAB_TRY(train_to_evaluation(fleet));
        if (is_checkpoint_due(fleet)) save(fleet);
        if (fleet->evaluation_due) EAB_TRY(evaluate(fleet));
    }
    return EAB_OK;
}

static void begin_result(eab_cell_result *result, const eab_config *config, int32_t cells) {
    memset(result, 0, sizeof *result); /* padding included, because checkpoints hold the struct */
    result->status = EAB_CELL_FAIL;
    result->parameters = eab_config_parameters(config);
    result->train_s = result->wall_s = NAN;
    result->flop_per_token = eab_config_flop_per_token(config);
    result->fleet = cells;
    eab_cell_result_clear(result);
}

int eab_train_fleet(eab_device *device, int32_t cells, const eab_config *configs, const eab_train_options *options,
                    eab_cell_result *results) {
    static const eab_train_options no_options;
    eab_fleet_state fleet;
    device->peak_bytes = device->bytes;
    EAB_TRY(eab_fleet_open(device, cells, configs, &fleet));
    fleet.options = options ? options : &no_options;
    fleet.results = results;
    for (int32_t cell = 0; cell < cells; cell++) begin_result(&results[cell], &configs[cell], cells);
    int status = fleet.options->checkpoint ? eab_fleet_load(&fleet) : EAB_OK;
    if (status == EAB_BAD_INPUT) { /* An unusable file is reported and ignored. */
        report(&fleet);
        status = EAB_OK;
    }
    if (!status) status = train(&fleet);
    const int64_t step = fleet.step;
    if (status == EAB_INTERRUPTED && fleet.options->checkpoint && step > 0) save(&fleet);
    eab_fleet_close(&fleet);
    for (int32_t cell = 0; cell < cells && status; cell++) eab_cell_result_free(&results[cell]);
    return status == EAB_INTERRUPTED ? eab_fail(EAB_INTERRUPTED, "interrupted at step %lld", (long long)step) : status;
}
