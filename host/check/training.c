/* The loss and the optimizers' steps. */
#include <math.h>

#include "buffers.h"

/* Member 1 has a smaller vocabulary than the fleet, so that the mask is used. */
static void check_loss(eab_check_run *run, const eab_check_shape *shape) {
    const int64_t rows = eab_check_rows(shape);
    const int32_t members = shape->members, least = shape->vocab > 2 ? shape->vocab - 1 : shape->vocab;
    int32_t vocab[EAB_CHECK_MAX_MEMBERS];
    int64_t counts[EAB_CHECK_MAX_MEMBERS];
    eab_tally tally[EAB_CHECK_MAX_MEMBERS];
    for (int32_t member = 0; member < members; member++) {
        vocab[member] = member == 1 ? least : shape->vocab;
        counts[member] = rows;
    }
    const int32_t *targets = eab_check_random_tokens(run, members * rows, least, true);
    int32_t *predictions = eab_check_upload(run, NULL, (size_t)(members * rows) * sizeof *predictions);
    const int64_t *device_counts = eab_check_upload(run, counts, (size_t)members * sizeof *counts);
    eab_tally *device_tally = eab_check_upload(run, NULL, (size_t)members * sizeof *tally);
    const eab_loss_args args = {.members = members,
                                .batch = shape->batch,
                                .context = shape->context,
                                .vocab = shape->vocab,
                                .member_vocab = vocab,
                                .targets = targets,
                                .targets_stride = rows,
                                .logits = eab_check_tensor(run, rows * shape->vocab, 2),
                                .tally = device_tally,
                                .predictions = predictions,
                                .counts = device_counts};
    EAB_CHECK_CALL(loss, &args);
    EAB_CHECK_CALL(download, tally, device_tally, (size_t)members * sizeof *tally);
    eab_check_output(run, args.logits);
    for (int32_t member = 0; member < members && !run->status; member++) {
        eab_check_output_number(run, tally[member].loss_nats);
        eab_check_output_number(run, (double)tally[member].tokens);
        eab_check_output_number(run, (double)tally[member].tokens_right);
        eab_check_output_number(run, (double)tally[member].sequences);
        eab_check_output_number(run, (double)tally[member].sequences_right);
    }
}

static void check_optimizer(eab_check_run *run, const eab_check_shape *shape) {
    const eab_optimizer_kind kind = (eab_optimizer_kind)run->operation->form;
    const int32_t members = shape->members;
    const int64_t count = eab_check_rows(shape) * shape->d_model;
    eab_optimizer optimizers[EAB_CHECK_MAX_MEMBERS];
    for (int32_t member = 0; member < members; member++)
        optimizers[member] = (eab_optimizer){.kind = kind,
                                             .schedule = EAB_SCHEDULE_COSINE,
                                             .lr = 0.01 * (member + 1),
                                             .beta1 = 0.9,
                                             .beta2 = 0.98,
                                             .momentum = 0.9,
                                             .weight_decay = 0.01,
                                             .clip = member ? 1 : 0,
                                             .lr_final = 0.1,
                                             .warmup = 2,
                                             .steps = 10};
    const int32_t columns = shape->d_model, rows = (int32_t)eab_check_rows(shape);
    const eab_extent extents[] = {{0, rows - 1, columns, false}, {(int64_t)(rows - 1) * columns, 1, columns, false}};
    eab_optimizer_args args = {.members = members,
                               .count = count,
                               .decayed = count / 2,
                               .extents = extents,
                               .extent_count = 2,
                               .optimizers = optimizers};
    args.weights = eab_check_tensor(run, count, 1);
    args.gradients = eab_check_tensor(run, count, 1);
    args.moment1 = eab_check_tensor(run, count, 0);
    args.moment2 = kind == EAB_OPTIMIZER_ADAMW ? eab_check_tensor(run, count, 0) : (eab_tensor){NULL, 0};
    for (args.step = 0; args.step < 2; args.step++)
        EAB_CHECK_CALL(optimizer_step, &args); /* the second with gradient 0 */
    eab_check_output(run, args.weights);
    eab_check_output(run, args.gradients);
    eab_check_output(run, args.moment1);
    eab_check_output(run, args.moment2);
}

const eab_check_operation eab_check_training[] = {
    {.name = "loss", .run = check_loss},
    {.name = "adamw", .run = check_optimizer, .form = EAB_OPTIMIZER_ADAMW},
    {.name = "sgd", .run = check_optimizer, .form = EAB_OPTIMIZER_SGD},
    {.name = NULL},
};
