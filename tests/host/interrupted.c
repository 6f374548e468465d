#include "interrupted.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The state of the one device in use: Criterion runs each test in its own process. */
static eab_backend counting;
static const eab_backend *real;
static atomic_bool stop;
static int calls_left;
int slow_ms;

static void count_call(void) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000L * slow_ms}, NULL);
    if (--calls_left == 0) atomic_store(&stop, true);
}

static int generate(eab_device *device, const eab_generate_args *args, int32_t *inputs, int32_t *targets,
                    int64_t *counts) {
    count_call();
    return real->generate(device, args, inputs, targets, counts);
}

static int replay(eab_device *device, void *recorded) {
    count_call();
    return real->replay(device, recorded);
}

static void take_report(void *context, const char *line) {
    interrupted_story *story = context;
    story->notes++;
    strncpy(story->note, line, sizeof story->note - 1);
}

int train_part(const char *backend, int calls, double every_s, const char *path, int32_t members,
               const eab_config *configs, eab_cell_result *results, interrupted_story *story) {
    eab_device *device;
    const bool plain = strcmp(backend, "plain") == 0;
    cr_assert_eq(eab_device_open_backend(plain ? &eab_backend_plain : eab_backend_from_name(backend), 0, &device),
                 EAB_OK, "%s", eab_last_error());
    real = device->backend;
    counting = *real;
    counting.generate = generate;
    if (real->replay) counting.replay = replay;
    device->backend = &counting;
    atomic_store(&stop, false);
    calls_left = calls;
    const eab_train_checkpoint checkpoint = {.path = path, .every_s = every_s, .report = take_report, .context = story};
    const eab_train_options options = {.stop = &stop, .keep_curves = true, .checkpoint = path ? &checkpoint : NULL};
    const int status = eab_train_fleet(device, members, configs, &options, results);
    cr_expect_eq(device->bytes, 0, "%zu bytes were not released", device->bytes);
    device->backend = real;
    eab_device_close(device);
    return status;
}

interrupted_story train_in_parts(const char *backend, int calls, double every_s, const char *path, int32_t members,
                                 const eab_config *configs, eab_cell_result *results) {
    interrupted_story story = {.parts = 1};
    int status;
    while ((status = train_part(backend, calls, every_s, path, members, configs, results, &story)) == EAB_INTERRUPTED &&
           story.parts < 10000)
        story.parts++;
    cr_assert_eq(status, EAB_OK, "%s", eab_last_error());
    return story;
}

/* NAN equals NAN. */
static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

void expect_same_bits(const eab_cell_result *a, const eab_cell_result *b, const char *what) {
    const struct {
        const char *name;
        double a, b;
    } reals[] = {{"loss_nats", a->scores.loss_nats, b->scores.loss_nats},
                 {"validation_accuracy", a->scores.validation_accuracy, b->scores.validation_accuracy},
                 {"token_accuracy", a->scores.token_accuracy, b->scores.token_accuracy},
                 {"sequence_accuracy", a->scores.sequence_accuracy, b->scores.sequence_accuracy},
                 {"rollout_accuracy", a->scores.rollout_accuracy, b->scores.rollout_accuracy},
                 {"seen_share", a->scores.seen_share, b->scores.seen_share}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        cr_expect(same(reals[i].a, reals[i].b), "%s: %s is %.17g, %.17g", what, reals[i].name, reals[i].a, reals[i].b);
    cr_expect_eq(a->status, b->status, "%s", what);
    cr_expect_str_eq(a->reason, b->reason, "%s", what);
    cr_expect_eq(a->scores.solved, b->scores.solved, "%s", what);
    cr_expect_eq(a->steps_done, b->steps_done, "%s: %lld steps, %lld", what, (long long)a->steps_done,
                 (long long)b->steps_done);
    cr_expect_eq(a->scores.steps_to_solve, b->scores.steps_to_solve, "%s", what);
    cr_expect_eq(a->tokens, b->tokens, "%s", what);
    cr_expect_eq(a->fleet, b->fleet, "%s", what);
    cr_expect_eq(a->fleet_tokens, b->fleet_tokens, "%s", what);
    cr_expect_eq(a->memory_bytes, b->memory_bytes, "%s", what);
    cr_assert_eq(a->curve_points, b->curve_points, "%s: curves of %d and %d points", what, a->curve_points,
                 b->curve_points);
    for (int32_t i = 0; i < a->curve_points; i++)
        cr_expect(a->curve[i].step == b->curve[i].step && same(a->curve[i].loss_nats, b->curve[i].loss_nats) &&
                      same(a->curve[i].validation_accuracy, b->curve[i].validation_accuracy),
                  "%s: point %d of the curve", what, i);
    for (int i = 0; i < EAB_MAX_PARTS; i++) {
        const eab_cell_scores *x = &a->parts[i], *y = &b->parts[i];
        cr_expect(same(x->loss_nats, y->loss_nats) && same(x->rollout_accuracy, y->rollout_accuracy) &&
                      same(x->validation_accuracy, y->validation_accuracy) && x->solved == y->solved &&
                      x->steps_to_solve == y->steps_to_solve,
                  "%s: part %d", what, i);
    }
}

void free_curves(eab_cell_result *results, int32_t members) {
    for (int32_t i = 0; i < members; i++) {
        free(results[i].curve);
        results[i].curve = NULL;
    }
}
