#include "train_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "geometry.h"
#include "kernels/clock.h"
#include "safetensors.h"
#include "spec/cell_task.h"

static bool stopped(const eab_fleet_state *fleet) {
    const atomic_bool *stop = fleet->options->stop;
    return stop && atomic_load_explicit(stop, memory_order_relaxed);
}

bool eab_train_same_fleet(const eab_config *a, const eab_config *b) {
    return a->layers == b->layers && a->d_model == b->d_model && a->heads == b->heads && a->mlp_ratio == b->mlp_ratio &&
           a->context == b->context && a->position == b->position && a->alibi_span == b->alibi_span &&
           a->norm == b->norm && a->qk_norm == b->qk_norm && a->activation == b->activation && a->bias == b->bias &&
           a->embedding == b->embedding && a->optimizer == b->optimizer && a->steps == b->steps &&
           a->batch == b->batch && a->eval_every == b->eval_every && a->eval_tokens == b->eval_tokens &&
           a->stop_when_solved == b->stop_when_solved && a->precision == b->precision;
}

static int allocate_host(eab_fleet_state *fleet) {
    const size_t n = (size_t)fleet->members;
    size_t levels = 0, most_parts = 1;
    for (int32_t member = 0; member < fleet->members; member++) {
        const size_t count = (size_t)eab_config_part_count(&fleet->configs[member]);
        levels += count;
        if (count > most_parts) most_parts = count;
    }
    fleet->states = calloc(n, sizeof *fleet->states);
    fleet->levels = calloc(levels, sizeof *fleet->levels);
    fleet->held_out = calloc(levels, sizeof *fleet->held_out);
    fleet->parts = calloc(n, sizeof *fleet->parts);
    fleet->seeds = calloc(n, sizeof *fleet->seeds);
    fleet->evaluations = calloc(n * most_parts, sizeof *fleet->evaluations);
    fleet->training = calloc(n, sizeof *fleet->training);
    if (!fleet->states || !fleet->levels || !fleet->held_out || !fleet->parts || !fleet->seeds || !fleet->evaluations ||
        !fleet->training)
        return eab_fail(EAB_NO_MEMORY, "no memory for a fleet of %d", fleet->members);
    int32_t listed = 0;
    for (int32_t member = 0; member < fleet->members; member++) {
        const eab_config *config = &fleet->configs[member];
        const int32_t count = eab_config_part_count(config);
        fleet->states[member] = (eab_member_state){.cell = member};
        fleet->parts[member] = (eab_parts){listed, count, eab_config_cue_token(config)};
        for (int32_t part = 0; part < count; part++, listed++) {
            fleet->levels[listed] = *eab_config_part(config, part);
            fleet->held_out[listed] = eab_config_part_held_out(config, part);
        }
        fleet->seeds[member] = (uint32_t)config->seed;
    }
    fleet->tokens.generate = (eab_generate_args){.members = fleet->members,
                                                 .batch = fleet->configs[0].batch,
                                                 .context = fleet->configs[0].context,
                                                 .levels = fleet->levels,
                                                 .held_out = fleet->held_out,
                                                 .parts = fleet->parts,
                                                 .seeds = fleet->seeds};
    return EAB_OK;
}

static int allocate_device(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    const eab_backend *backend = device->backend;
    eab_fleet_tokens *tokens = &fleet->tokens;
    const size_t n = (size_t)fleet->members;
    const size_t token_bytes =
        n * (size_t)fleet->configs[0].batch * (size_t)fleet->configs[0].context * sizeof(int32_t);
    EAB_TRY(backend->allocate(device, token_bytes, (void **)&tokens->inputs));
    EAB_TRY(backend->allocate(device, token_bytes, (void **)&tokens->targets));
    EAB_TRY(backend->allocate(device, token_bytes, (void **)&tokens->predictions));
    EAB_TRY(backend->allocate(device, n * sizeof(int64_t), (void **)&tokens->counts));
    EAB_TRY(backend->allocate(device, sizeof(int64_t), (void **)&tokens->changed));
    EAB_TRY(backend->allocate(device, n * sizeof(eab_tally), (void **)&tokens->training));
    EAB_TRY(backend->allocate(device, n * sizeof(eab_tally), (void **)&tokens->tally));
    EAB_TRY(backend->allocate(device, n * sizeof(eab_tally), (void **)&tokens->rollout));
    return backend->zero(device, tokens->training, n * sizeof(eab_tally));
}

/* The members have changed: a recorded step is not theirs any more. */
static void forget_recording(eab_fleet_state *fleet, eab_device *device) {
    if (fleet->recording) device->backend->forget(device, fleet->recording);
    fleet->recording = NULL;
    fleet->warm = false;
}

static void release(eab_fleet_state *fleet, eab_device *device) {
    forget_recording(fleet, device);
    void *const on_device[] = {fleet->tokens.inputs, fleet->tokens.targets, fleet->tokens.predictions,
                               fleet->tokens.counts, fleet->tokens.changed, fleet->tokens.training,
                               fleet->tokens.tally,  fleet->tokens.rollout};
    for (size_t i = 0; i < sizeof on_device / sizeof *on_device; i++)
        if (on_device[i]) device->backend->release(device, on_device[i]);
    if (fleet->model.device) eab_model_destroy(&fleet->model);
    free(fleet->states);
    free(fleet->levels);
    free(fleet->held_out);
    free(fleet->parts);
    free(fleet->seeds);
    free(fleet->evaluations);
    free(fleet->training);
}

int eab_fleet_add_curve_point(eab_member_state *state, eab_cell_result *result, eab_curve_point point) {
    if (result->curve_points >= state->curve_room) { /* behind a checkpoint more points than room was asked for */
        const int32_t room = result->curve_points ? 2 * result->curve_points : 16;
        eab_curve_point *curve = realloc(result->curve, (size_t)room * sizeof *curve);
        if (!curve) return eab_fail(EAB_NO_MEMORY, "no memory for a curve of %d points", room);
        result->curve = curve;
        state->curve_room = room;
    }
    result->curve[result->curve_points++] = point;
    return EAB_OK;
}

static int save_model(eab_fleet_state *fleet, int32_t member, const char *path) {
    const eab_model *model = &fleet->model;
    double *values = malloc((size_t)model->parameters.count * sizeof *values);
    if (!values) return eab_fail(EAB_NO_MEMORY, "no memory to save the model");
    const char *from = (const char *)model->weights.data +
                       member * model->weights.stride * (int64_t)model->device->backend->real_bytes;
    int status = model->device->backend->read_reals(model->device, values, from, model->parameters.count);
    if (!status)
        status = eab_safetensors_write(path, &model->parameters, &fleet->configs[fleet->states[member].cell],
                                       EAB_STORED_FLOAT32, values);
    free(values);
    return status;
}

/* Writes down what the held-out evaluation of a part found, or that of the whole. seen_share is another's work. */
static void take_scores(const eab_evaluation *held_out, eab_part_result *scores) {
    const eab_tally *tally = &held_out->tally;
    scores->loss_nats = tally->loss_nats / (double)tally->tokens;
    scores->token_accuracy = (double)tally->tokens_right / (double)tally->tokens;
    scores->sequence_accuracy = (double)tally->sequences_right / (double)tally->sequences;
    scores->rollout_accuracy = (double)held_out->rollout_right / (double)held_out->rollout_tokens;
    scores->solved = tally->tokens_right == tally->tokens;
}

/* The whole's scores: from the counts of all parts together. parts: the member's evaluations. */
static int take_all_scores(const eab_config *config, int64_t trained, const eab_evaluation *parts,
                           eab_cell_result *result) {
    const int32_t count = eab_config_part_count(config);
    const eab_evaluation all = eab_evaluation_sum(parts, count);
    eab_part_result whole;
    double share = 0, seen = 0;
    for (int32_t part = 0; part < count; part++) {
        EAB_TRY(eab_seen_share(config, part, parts[part].sequences, eab_config_part_sequences(config, part, trained),
                               &share));
        seen += share * (double)parts[part].sequences;
        if (!config->mixture) continue;
        take_scores(&parts[part], &result->parts[part]);
        result->parts[part].seen_share = share;
    }
    take_scores(&all, &whole);
    result->loss_nats = whole.loss_nats;
    result->token_accuracy = whole.token_accuracy;
    result->sequence_accuracy = whole.sequence_accuracy;
    result->rollout_accuracy = whole.rollout_accuracy;
    result->solved = whole.solved;
    result->seen_share = count == 1 ? share : seen / (double)all.sequences;
    return EAB_OK;
}

/* Why a member leaves its fleet. */
enum { STAYS, DONE, DIVERGED, HOPELESS };

/* See eab_train_options. A level is often learned in one late step, so half of the time is the least to be given. */
static bool is_hopeless(const eab_config *config, int64_t steps, double validation_accuracy) {
    const double chance = eab_config_chance_accuracy(config);
    return 2 * steps >= config->steps && validation_accuracy < chance + 0.1 * (1 - chance);
}

/* Writes down what is known of a member that leaves the fleet after `steps`; held_out, its parts': where it is DONE. */
static int finish_member(eab_fleet_state *fleet, int32_t member, int64_t steps, int leaving,
                         const eab_evaluation *held_out) {
    const eab_member_state *state = &fleet->states[member];
    const eab_config *config = &fleet->configs[state->cell];
    eab_cell_result *result = &fleet->results[state->cell];
    result->steps_done = steps;
    result->tokens = steps * config->batch * config->context;
    result->train_s = fleet->training_s;
    result->wall_s = eab_now_s() - fleet->started_s;
    result->fleet_tokens = fleet->trained_tokens;
    result->memory_bytes = (int64_t)fleet->model.device->peak_bytes;
    if (leaving == HOPELESS) {
        result->status = EAB_CELL_TIMEOUT;
        snprintf(result->reason, sizeof result->reason,
                 "abandoned at step %lld of %lld: validation accuracy %.3f, chance is %.3f", (long long)steps,
                 (long long)config->steps, result->validation_accuracy, eab_config_chance_accuracy(config));
        return EAB_OK;
    }
    if (leaving == DIVERGED) {
        result->status = EAB_CELL_DIVERGED;
        snprintf(result->reason, sizeof result->reason, "the loss was not finite by step %lld", (long long)steps);
        eab_cell_result_clear(result);
        return EAB_OK;
    }
    result->status = EAB_CELL_OK;
    EAB_TRY(take_all_scores(config, steps * config->batch, held_out, result));
    if (fleet->options->model_paths) return save_model(fleet, member, fleet->options->model_paths[state->cell]);
    return EAB_OK;
}

/* The last member moves into the place of one that leaves. */
int eab_fleet_remove(eab_fleet_state *fleet, int32_t member) {
    forget_recording(fleet, fleet->model.device);
    EAB_TRY(eab_model_remove(&fleet->model, member));
    const int32_t last = fleet->model.shape.members;
    fleet->states[member] = fleet->states[last];
    fleet->parts[member] = fleet->parts[last];
    fleet->seeds[member] = fleet->seeds[last];
    return EAB_OK;
}

/* Of the members that are DONE. */
static int measure_geometry(eab_fleet_state *fleet, const uint8_t *leaving) {
    const size_t members = (size_t)fleet->model.shape.members;
    uint8_t *wanted = calloc(members, 1);
    const eab_config **configs = calloc(members, sizeof *configs);
    const char **paths = calloc(members, sizeof *paths);
    eab_geometry **found = calloc(members, sizeof(eab_geometry *));
    int status = wanted && configs && paths && found ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for geometry");
    for (size_t member = 0; member < members && !status; member++) {
        const int32_t cell = fleet->states[member].cell;
        wanted[member] = leaving[member] == DONE;
        configs[member] = &fleet->configs[cell];
        paths[member] = fleet->options->geometry_paths[cell];
    }
    if (!status) status = eab_geometry_measure(&fleet->model, &fleet->tokens, wanted, configs, paths, found);
    for (size_t member = 0; member < members && !status; member++)
        fleet->results[fleet->states[member].cell].geometry = found[member];
    free(wanted);
    free((void *)configs);
    free((void *)paths);
    free((void *)found);
    return status;
}

int eab_fleet_swap(eab_fleet_state *fleet, int32_t a, int32_t b) {
    forget_recording(fleet, fleet->model.device);
    EAB_TRY(eab_model_swap(&fleet->model, a, b));
    const eab_member_state state = fleet->states[a];
    const eab_parts parts = fleet->parts[a];
    const uint32_t seed = fleet->seeds[a];
    fleet->states[a] = fleet->states[b];
    fleet->parts[a] = fleet->parts[b];
    fleet->seeds[a] = fleet->seeds[b];
    fleet->states[b] = state;
    fleet->parts[b] = parts;
    fleet->seeds[b] = seed;
    return EAB_OK;
}

/* Evaluates the first `count` members, all of them leaving with a result, on the held-out stream; the others rest. */
static int evaluate_first(eab_fleet_state *fleet, int32_t count, const uint8_t *leaving) {
    const int32_t members = fleet->model.shape.members;
    fleet->model.shape.members = count;
    int status = eab_evaluate(&fleet->model, &fleet->tokens, EAB_STREAM_HELD_OUT, true, fleet->options->stop,
                              fleet->evaluations);
    if (!status && fleet->options->geometry_paths) status = measure_geometry(fleet, leaving);
    fleet->model.shape.members = members;
    return status;
}

/* Finishes and removes the members marked in leaving[]. Those with a result change places
 * with the first ones, so that the held-out evaluation, which may take `context` passes, runs over them alone. */
static int finish_members(eab_fleet_state *fleet, int64_t steps, uint8_t *leaving) {
    int32_t results = 0;
    for (int32_t member = 0; member < fleet->model.shape.members; member++) {
        if (leaving[member] != DONE) continue;
        if (member != results) EAB_TRY(eab_fleet_swap(fleet, results, member));
        leaving[member] = leaving[results];
        leaving[results++] = DONE;
    }
    if (results) EAB_TRY(evaluate_first(fleet, results, leaving));
    const int32_t stride = eab_most_parts(&fleet->tokens, results); /* of what was evaluated */
    for (int32_t member = 0; member < fleet->model.shape.members; member++)
        if (leaving[member])
            EAB_TRY(
                finish_member(fleet, member, steps, leaving[member], &fleet->evaluations[(int64_t)member * stride]));
    for (int32_t member = fleet->model.shape.members - 1; member >= 0; member--)
        if (leaving[member]) EAB_TRY(eab_fleet_remove(fleet, member));
    return EAB_OK;
}

/* Writes down what a validation found; parts: the member's evaluations. Whether their loss was finite. */
static bool take_validation(const eab_config *config, int64_t steps, const eab_evaluation *parts,
                            eab_cell_result *result) {
    const int32_t count = eab_config_part_count(config);
    const eab_tally all = eab_evaluation_sum(parts, count).tally;
    for (int32_t part = 0; part < count && config->mixture; part++) {
        const eab_tally *tally = &parts[part].tally;
        eab_part_result *own = &result->parts[part];
        own->validation_accuracy = (double)tally->tokens_right / (double)tally->tokens;
        if (tally->tokens_right == tally->tokens && own->steps_to_solve < 0) own->steps_to_solve = steps;
    }
    result->validation_accuracy = (double)all.tokens_right / (double)all.tokens;
    if (all.tokens_right == all.tokens && result->steps_to_solve < 0) result->steps_to_solve = steps;
    return isfinite(all.loss_nats);
}

/* Evaluates on the validation stream, and lets members go that are done. */
static int look(eab_fleet_state *fleet, int64_t steps) {
    const eab_config *shared = &fleet->configs[0];
    const int32_t members = fleet->model.shape.members, stride = eab_most_parts(&fleet->tokens, members);
    uint8_t *leaving = calloc((size_t)members, 1);
    if (!leaving) return eab_fail(EAB_NO_MEMORY, "no memory for %d marks", members);
    int status = eab_evaluate(&fleet->model, &fleet->tokens, EAB_STREAM_VALIDATION, false, fleet->options->stop,
                              fleet->evaluations);
    for (int32_t member = 0; member < members && !status; member++) {
        eab_member_state *state = &fleet->states[member];
        eab_cell_result *result = &fleet->results[state->cell];
        const eab_tally *training = &state->training;
        const double loss = training->loss_nats / (double)training->tokens;
        const bool finite =
            take_validation(&fleet->configs[state->cell], steps, &fleet->evaluations[(int64_t)member * stride], result);
        if (!isfinite(loss) || !finite) {
            leaving[member] = DIVERGED;
            continue;
        }
        if (fleet->options->keep_curves)
            status =
                eab_fleet_add_curve_point(state, result, (eab_curve_point){steps, loss, result->validation_accuracy});
        const bool all_right = result->validation_accuracy >= 1;
        if (steps == shared->steps || (all_right && shared->stop_when_solved)) leaving[member] = DONE;
        else if (fleet->options->abandon &&
                 is_hopeless(&fleet->configs[state->cell], steps, result->validation_accuracy))
            leaving[member] = HOPELESS;
    }
    if (!status) status = finish_members(fleet, steps, leaving);
    free(leaving);
    return status;
}

static int train_step(eab_fleet_state *fleet, int64_t step) {
    eab_device *device = fleet->model.device;
    eab_fleet_tokens *tokens = &fleet->tokens;
    tokens->generate.members = fleet->model.shape.members;
    tokens->generate.stream = EAB_STREAM_TRAINING;
    tokens->generate.first_index = (uint64_t)step * (uint64_t)fleet->model.batch;
    EAB_TRY(device->backend->generate(device, &tokens->generate, tokens->inputs, tokens->targets, tokens->counts));
    EAB_TRY(eab_model_pass(&fleet->model, tokens->inputs, tokens->targets, tokens->counts, tokens->training, NULL));
    return eab_model_step(&fleet->model, step);
}

static int record_step(eab_fleet_state *fleet, int64_t step) {
    eab_device *device = fleet->model.device;
    EAB_TRY(device->backend->record_begin(device));
    const int recorded = train_step(fleet, step);
    char reason[512] = "";
    if (recorded) snprintf(reason, sizeof reason, "%s", eab_last_error()); /* the recording's own line would hide it */
    const int ended = device->backend->record_end(device, &fleet->recording);
    return recorded ? eab_fail((eab_status)recorded, "%s", reason) : ended;
}

/* Recording does nothing, so where it fails the step can still be done, slower. A fault of the device shows there,
 * too. */
static void do_without_recording(eab_fleet_state *fleet, eab_device *device) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&told))
        fprintf(stderr, "eabench: steps are not recorded, and take the host longer: %s\n", eab_last_error());
    if (fleet->recording) device->backend->forget(device, fleet->recording);
    fleet->recording = NULL;
    fleet->unrecorded = true;
}

/* A step of the fleet. Where the device can record, the first is done operation by operation, the second is recorded,
 * and from then on the recording is replayed, which costs the host next to nothing. */
static int do_step(eab_fleet_state *fleet, int64_t step) {
    eab_device *device = fleet->model.device;
    if (!device->backend->records || !device->backend->records(device) || !fleet->warm) {
        fleet->warm = true;
        return train_step(fleet, step);
    }
    if (!fleet->recording && !fleet->unrecorded && record_step(fleet, step)) do_without_recording(fleet, device);
    if (fleet->unrecorded) return train_step(fleet, step);
    return device->backend->replay(device, fleet->recording);
}

/* Of the time, where it is to be sparing. */
static const double CHECKPOINT_SHARE = 0.001;

/* Saves the fleet. What goes wrong is told, and training goes on: a checkpoint is no result. */
static void save(eab_fleet_state *fleet) {
    const eab_train_checkpoint *checkpoint = fleet->options->checkpoint;
    const double before_s = eab_now_s();
    if (eab_fleet_save(fleet) && checkpoint->note) checkpoint->note(checkpoint->context, eab_last_error());
    fleet->checkpoint_s = eab_now_s();
    fleet->checkpoint_took_s = fleet->checkpoint_s - before_s;
    if (!checkpoint->saves) return;
    atomic_fetch_add(checkpoint->saves, 1);
    atomic_fetch_add(checkpoint->saves_ns, (int64_t)(1e9 * fleet->checkpoint_took_s));
}

static bool is_checkpoint_due(const eab_fleet_state *fleet) {
    const eab_train_checkpoint *checkpoint = fleet->options->checkpoint;
    if (!checkpoint) return false;
    const double sparing_s = checkpoint->sparing ? fleet->checkpoint_took_s / CHECKPOINT_SHARE : 0;
    return eab_now_s() - fleet->checkpoint_s >= (sparing_s > checkpoint->every_s ? sparing_s : checkpoint->every_s);
}

/* Reads and zeroes what was counted since the look before. */
static int take_tallies(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    const size_t bytes = (size_t)fleet->members * sizeof(eab_tally);
    EAB_TRY(device->backend->download(device, fleet->training, fleet->tokens.training, bytes));
    for (int32_t member = 0; member < fleet->model.shape.members; member++)
        fleet->states[member].training = fleet->training[member];
    return device->backend->zero(device, fleet->tokens.training, bytes);
}

/* The steps up to the next look, or until a checkpoint is due, or it is to stop. */
static int train_to_look(eab_fleet_state *fleet) {
    const eab_config *shared = &fleet->configs[0];
    const int64_t next_look = fleet->step + shared->eval_every - fleet->step % shared->eval_every;
    const int64_t end = next_look < shared->steps ? next_look : shared->steps;
    const int32_t members = fleet->model.shape.members;
    const double before_s = eab_now_s();
    bool stop = stopped(fleet);
    while (!stop) {
        EAB_TRY(do_step(fleet, fleet->step));
        fleet->step++;
        if (fleet->options->steps_done)
            atomic_fetch_add_explicit(fleet->options->steps_done, members, memory_order_relaxed);
        fleet->trained_tokens += (int64_t)members * shared->batch * shared->context;
        if (fleet->step == end || is_checkpoint_due(fleet)) break;
        stop = stopped(fleet);
    }
    EAB_TRY(fleet->model.device->backend->synchronize(fleet->model.device));
    fleet->training_s += eab_now_s() - before_s;
    if (stop) return eab_fail(EAB_INTERRUPTED, "interrupted");
    if (fleet->step < end) return EAB_OK;
    fleet->looking = true;
    return take_tallies(fleet);
}

static int train(eab_fleet_state *fleet) {
    fleet->checkpoint_s = eab_now_s();
    while (fleet->model.shape.members > 0 && (fleet->looking || fleet->step < fleet->configs[0].steps)) {
        if (!fleet->looking) EAB_TRY(train_to_look(fleet));
        if (is_checkpoint_due(fleet)) save(fleet);
        if (!fleet->looking) continue;
        EAB_TRY(look(fleet, fleet->step));
        fleet->looking = false;
    }
    return EAB_OK;
}

void eab_cell_result_clear(eab_cell_result *result) {
    result->loss_nats = result->validation_accuracy = NAN;
    result->token_accuracy = result->sequence_accuracy = result->rollout_accuracy = NAN;
    result->seen_share = NAN;
    result->solved = -1;
    result->steps_to_solve = -1;
    for (int i = 0; i < EAB_MAX_PARTS; i++) result->parts[i] = (eab_part_result){NAN, NAN, NAN, NAN, NAN, NAN, -1, -1};
}

static void begin_result(eab_cell_result *result, const eab_config *config, int32_t members) {
    *result = (eab_cell_result){.status = EAB_CELL_FAIL,
                                .parameters = eab_config_parameters(config),
                                .train_s = NAN,
                                .wall_s = NAN,
                                .flop_per_token = eab_config_flop_per_token(config),
                                .fleet = members};
    eab_cell_result_clear(result);
}

static void free_results(eab_cell_result *results, int32_t members) {
    for (int32_t member = 0; member < members; member++) {
        free(results[member].curve);
        free(results[member].geometry);
        results[member].curve = NULL;
        results[member].curve_points = 0;
        results[member].geometry = NULL;
    }
}

/* The fleet before its first step; `going_on`: or as its checkpoint has it. */
static int begin(eab_fleet_state *fleet, eab_device *device, bool going_on) {
    for (int32_t member = 0; member < fleet->members; member++)
        begin_result(&fleet->results[member], &fleet->configs[member], fleet->members);
    EAB_TRY(allocate_host(fleet));
    EAB_TRY(eab_model_create(device, fleet->members, fleet->configs, &fleet->model));
    EAB_TRY(allocate_device(fleet));
    return going_on ? eab_fleet_load(fleet) : EAB_OK;
}

int eab_train_fleet(eab_device *device, int32_t members, const eab_config *configs, const eab_train_options *options,
                    eab_cell_result *results) {
    static const eab_train_options no_options;
    const eab_fleet_state fresh = {.configs = configs,
                                   .options = options ? options : &no_options,
                                   .results = results,
                                   .members = members,
                                   .started_s = eab_now_s()};
    const eab_train_checkpoint *checkpoint = fresh.options->checkpoint;
    eab_fleet_state fleet = fresh;
    device->peak_bytes = device->bytes;
    int status = begin(&fleet, device, checkpoint && checkpoint->going_on);
    if (status == EAB_BAD_INPUT && checkpoint && checkpoint->going_on) {
        if (checkpoint->note) checkpoint->note(checkpoint->context, eab_last_error());
        release(&fleet, device);
        free_results(results, members);
        fleet = fresh;
        status = begin(&fleet, device, false);
    }
    if (!status) status = train(&fleet);
    if (status == EAB_INTERRUPTED && checkpoint && (fleet.step > 0 || fleet.model.shape.members < members))
        save(&fleet);
    release(&fleet, device);
    if (status) free_results(results, members);
    if (status == EAB_INTERRUPTED) eab_fail(EAB_INTERRUPTED, "interrupted at step %lld", (long long)fleet.step);
    return status;
}

/* ---- step by step -------------------------------------------------------------------------------------------- */

struct eab_train_stepper {
    eab_fleet_state fleet;
    eab_config config;
    eab_cell_result result;
    int64_t step;
};

int eab_train_stepper_open(eab_device *device, const eab_config *config, eab_train_stepper **opened) {
    static const eab_train_options no_options;
    eab_train_stepper *stepper = calloc(1, sizeof *stepper);
    if (!stepper) return eab_fail(EAB_NO_MEMORY, "no memory for a model");
    stepper->config = *config;
    stepper->fleet = (eab_fleet_state){
        .configs = &stepper->config, .options = &no_options, .results = &stepper->result, .members = 1};
    int status = allocate_host(&stepper->fleet);
    if (!status) status = eab_model_create(device, 1, &stepper->config, &stepper->fleet.model);
    if (!status) status = allocate_device(&stepper->fleet);
    if (status) {
        release(&stepper->fleet, device);
        free(stepper);
        return status;
    }
    *opened = stepper;
    return EAB_OK;
}

int eab_train_stepper_step(eab_train_stepper *stepper) { return do_step(&stepper->fleet, stepper->step++); }

void eab_train_stepper_close(eab_train_stepper *stepper) {
    if (!stepper) return;
    release(&stepper->fleet, stepper->fleet.model.device);
    free(stepper);
}
