/* Mixtures: their text, ids, figures, sequences and results. */
#include <criterion/criterion.h>
#include <glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_fixture.h"
#include "host/model/evaluate.h"
#include "host/model/train.h"
#include "host/run/tables.h"
#include "host/spec/cell_task.h"
#include "host/spec/mixture.h"
#include "spec_text.h"
#include "tasks/task.h"

#define MIXTURE "[task mixture]\nparts = "
#define TWO "recurrence(basis=4 delay=3) + recurrence(basis=8 delay=2)"

/* ---- text ------------------------------------------------------------------------------------------------------ */

/* Spec files and pieces of their error messages. A piece that begins with a blank comes after
 * "SPEC:2: [task mixture] parts = VALUE:". */
static const struct {
    const char *text, *error;
} bad[] = {
    {"[task mixture]\n", "SPEC:1: [task mixture]: no parts; allowed: parts = recurrence(basis=8 delay=2) + "},
    {"[task mixture]\ncue = none\n", "SPEC:1: [task mixture]: no parts; allowed: parts = "},
    {"[task mixture]\npart = 1\n",
     "SPEC:2: [task mixture] part = 1: unknown key in [task mixture]; nearest: parts; allowed: parts, cue"},
    {"[task mixture]\nbasis = 4\n",
     "SPEC:2: [task mixture] basis = 4: unknown key in [task mixture]; it belongs into [task ...]; allowed: parts, "
     "cue"},
    {MIXTURE TWO "\ncue = word\n",
     "SPEC:3: [task mixture] cue = word: no such choice; nearest: none; allowed: token, none"},
    {MIXTURE "\n",
     "SPEC:2: [task mixture] parts = : no mixture; allowed: recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3)"},
    {MIXTURE TWO ",\n", " no mixture; allowed: recurrence(basis=8"},
    {MIXTURE "recurrence\n", " recurrence: 1 part; allowed: 2..16 parts joined by +, such as "},
    {MIXTURE "recurrence + \n", " an empty part; allowed: recurrence("},
    {MIXTURE "+ recurrence\n", " an empty part; allowed: recurrence("},
    {MIXTURE "recurrence + + recurrence(delay=2)\n", " an empty part; allowed: recurrence("},
    {MIXTURE "recurence + recurrence(delay=2)\n",
     ": unknown task family 'recurence'; nearest: recurrence; allowed: recurrence"},
    {MIXTURE "recurrence + (delay=2)\n", ": unknown task family ''; nearest: "},
    {MIXTURE "recurrence + mixture\n", " mixture: a mixture of a mixture; allowed: recurrence"},
    {MIXTURE "recurrence + recurrence(delay=2\n", ": ( and ) do not match; allowed: recurrence("},
    {MIXTURE "recurrence + recurrence delay=2)\n", ": ( and ) do not match; allowed: recurrence("},
    {MIXTURE "recurrence + recurrence((delay=2))\n", ": ( and ) do not match; allowed: recurrence("},
    {MIXTURE ")recurrence( + recurrence\n", ": ( and ) do not match; allowed: recurrence("},
    {MIXTURE "recurrence + recurrence(delay=2) x\n", " x: text after the ) of a part; allowed: + and the next part"},
    {MIXTURE "recurrence + recurrence(delay=2)(a=2)\n",
     " (a=2): text after the ) of a part; allowed: + and the next part"},
    {MIXTURE "recurrence + recurrence(delay)\n", " delay: no key=value; allowed: key=value with blanks between"},
    {MIXTURE "recurrence + recurrence(delay=)\n", " delay=: no key=value; allowed: "},
    {MIXTURE "recurrence + recurrence(=2)\n", " =2: no key=value; allowed: "},
    {MIXTURE "recurrence + recurrence(delay = 2)\n", " delay: no key=value; allowed: "},
    {MIXTURE "recurrence + recurrence(dealy=2)\n",
     " dealy: unknown key in [recurrence]; nearest: delay; allowed: basis, delay, a, b"},
    {MIXTURE "recurrence + recurrence(delay=2 delay=2)\n", " delay: the key occurs twice in a part; allowed: once"},
    {MIXTURE "recurrence + recurrence(delay=2,3)\n", " 2,3: a list or range inside a part; allowed: one value; "},
    {MIXTURE "recurrence + recurrence(delay=2:3)\n", " 2:3: a list or range inside a part; allowed: one value; "},
    {MIXTURE "recurrence + recurrence(delay=0)\n", " delay=0: out of bounds; allowed: an integer 1..65535"},
    {MIXTURE "recurrence + recurrence(delay=x)\n", " delay=x: not a number; allowed: an integer 1..65535"},
    {MIXTURE "recurrence + recurrence(delay=1e9)\n", " delay=1e9: not written as an integer; allowed: "},
    {MIXTURE "recurrence + recurrence(basis=8)\n",
     " recurrence(basis=8 delay=4): the part occurs twice in the mixture; allowed: once"},
    {MIXTURE "recurrence(delay=23) + recurrence\n",
     "SPEC: [task mixture] recurrence(basis=8 delay=23): delay = 23 leaves nothing to predict in context = 23; "
     "allowed: "
     "1..22 (one less than the model's, for the task token)"},
    {MIXTURE "recurrence(delay=24) + recurrence\ncue = none\n",
     "SPEC: [task mixture] recurrence(basis=8 delay=24): delay = 24 leaves nothing to predict in context = 24; "
     "allowed: 1..23"},
    {MIXTURE "recurrence(basis=31) + recurrence\n[model]\nembedding = onehot\n",
     "SPEC: [model] embedding = onehot, d_model = 32: less than the 33 tokens of [task mixture]; allowed: d_model "
     "33.."},
    {MIXTURE "recurrence(basis=2 delay=1 b=0) + recurrence\n[train]\nheldout = hash\n",
     "SPEC: [train] heldout = hash: too few sequences in [task mixture] recurrence(basis=2 delay=1 b=0) to set some "
     "apart"},
};

Test(mixture, mistakes) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        eab_plan plan;
        char error[1024];
        cr_expect_eq(load_text(bad[i].text, NULL, &plan, error), EAB_BAD_INPUT, "%s", bad[i].text);
        cr_expect_not_null(strstr(error, bad[i].error), "%s: got %s", bad[i].text, error);
        if (*bad[i].error == ' ')
            cr_expect_eq(strncmp(error, "SPEC:2: [task mixture] parts = ", 31), 0, "got %s", error);
    }
}

Test(mixture, has_sixteen_parts_at_most) {
    char text[2000] = "", error[1024];
    eab_plan plan;
    for (int parts = 16; parts <= 17; parts++) {
        int used = snprintf(text, sizeof text, MIXTURE);
        for (int i = 1; i <= parts; i++)
            used += snprintf(text + used, sizeof text - (size_t)used, "%srecurrence(delay=%d)", i > 1 ? " + " : "", i);
        const int status = load_text(text, NULL, &plan, error);
        cr_expect_eq(status, parts == 16 ? EAB_OK : EAB_BAD_INPUT, "%s", error);
        if (status) cr_expect_not_null(strstr(error, "17 parts; allowed: 2..16 parts"), "got %s", error);
        else eab_plan_free(&plan);
    }
}

/* Any text after "parts =" is read, or refused with one line. */
Test(mixture, survives_any_text, .timeout = 60) {
    static const char pieces[][16] = {"recurrence", "(", ")",  "+",       ",", "=",  "basis",    "delay=2", " ",
                                      "8",          ":", "\t", "mixture", "#", "%s", "\xc3\xa9", "-1"};
    GRand *random = g_rand_new_with_seed(1);
    for (int i = 0; i < 20000; i++) {
        GString *text = g_string_new(NULL);
        for (int n = g_rand_int_range(random, 0, 24); n > 0; n--)
            g_string_append(text, pieces[g_rand_int_range(random, 0, G_N_ELEMENTS(pieces))]);
        GPtrArray *mixtures = g_ptr_array_new_with_free_func(g_free);
        const int status = eab_mixture_parse(text->str, "here", mixtures);
        cr_assert(status == EAB_OK || status == EAB_BAD_INPUT);
        if (status)
            cr_assert(g_str_has_prefix(eab_last_error(), "here: ") && strstr(eab_last_error(), "allowed: "), "%s: %s",
                      text->str, eab_last_error());
        const guint count = status ? 0 : mixtures->len;
        for (guint k = 0; k < count; k++) { /* the text of a mixture reads as the same mixture */
            const eab_mixture *mixture = g_ptr_array_index(mixtures, k);
            cr_assert_eq(eab_mixture_parse(mixture->text, "again", mixtures), EAB_OK, "%s", eab_last_error());
            const eab_mixture *again = g_ptr_array_index(mixtures, mixtures->len - 1);
            cr_assert_str_eq(again->text, mixture->text);
            cr_assert_eq(again->count, mixture->count);
        }
        g_ptr_array_unref(mixtures);
        g_string_free(text, TRUE);
    }
    g_rand_free(random);
}

/* ---- ids ------------------------------------------------------------------------------------------------------- */

static eab_plan load(const char *text, const char *const *sets) {
    eab_plan plan;
    char error[1024];
    cr_assert_eq(load_text(text, sets, &plan, error), EAB_OK, "%s", error);
    return plan;
}

Test(mixture, is_an_axis_and_its_manifest_runs_again) {
    const char *const sets[] = {"task mixture two.parts=" TWO ", recurrence + recurrence(delay=2)", NULL};
    eab_plan plan =
        load("[task recurrence]\n[task mixture two]\ncue = token, none\n[train]\nmechanism = dpa, ea\n", sets);
    cr_expect_eq(plan.count, 10);
    cr_expect_not_null(strstr(plan.resolved, "[task mixture two]\ncue = token, none\nparts = " TWO
                                             ", recurrence(basis=8 delay=2) + recurrence(basis=8 delay=4)\n"),
                       "%s", plan.resolved);
    eab_plan again = load(plan.resolved, NULL);
    cr_expect_str_eq(again.resolved, plan.resolved);
    cr_assert_eq(again.count, plan.count);
    for (int64_t i = 0; i < plan.count; i++) cr_expect_str_eq(again.cells[i].id, plan.cells[i].id);
    eab_plan_free(&again);
    eab_plan_free(&plan);
}

Test(mixture, ids_are_pinned) {
    eab_plan plan = load(MIXTURE TWO "\ncue = token, none\n", NULL);
    cr_assert_eq(plan.count, 2);
    /* printf 'mixture.part=recurrence recurrence.basis=4 recurrence.delay=3\nmixture.part=recurrence
     * recurrence.delay=2\ntask=mixture\n' | sha256sum; with 'mixture.cue=none\n' as the first line */
    cr_expect_str_eq(plan.cells[0].id, "7ebec578bc58316d", "got %s", plan.cells[0].id);
    cr_expect_str_eq(plan.cells[1].id, "eb1eb98ec9228b83", "got %s", plan.cells[1].id);
    eab_plan_free(&plan);
}

Test(mixture, is_a_set) {
    eab_plan plan = load(MIXTURE TWO ", recurrence(delay=2)+recurrence(delay=3\tbasis=4  b=1)\n", NULL);
    cr_expect_eq(plan.count, 1);
    cr_expect_eq(plan.duplicates, 1);
    eab_plan_free(&plan);
}

/* ---- figures -------------------------------------------------------------------------------------------------- */

static eab_config mixture_config(const char *parts, eab_cue cue) {
    static GPtrArray *mixtures; /* as long as the test runs */
    eab_config config = tiny_config();
    if (!mixtures) mixtures = g_ptr_array_new_with_free_func(g_free);
    cr_assert_eq(eab_mixture_parse(parts, "here", mixtures), EAB_OK, "%s", eab_last_error());
    config.mixture = g_ptr_array_index(mixtures, mixtures->len - 1);
    config.cue = (int32_t)cue;
    config.level = *eab_config_part(&config, 0);
    config.context = 8;
    return config;
}

Test(mixture, figures) {
    char name[EAB_LEVEL_NAME_SIZE];
    eab_config config = mixture_config(TWO, EAB_CUE_TOKEN);
    cr_expect_eq(eab_config_part_count(&config), 2);
    cr_expect_eq(eab_config_vocab(&config), 10);
    cr_expect_eq(eab_config_cue_token(&config), 8);
    cr_expect_eq(eab_config_part_context(&config), 7);
    cr_expect_float_eq(eab_config_complexity_bits(&config), 7, 1e-12); /* 64 + 64 sequences */
    cr_expect_float_eq(eab_config_chance_accuracy(&config), (1.0 / 4 + 1.0 / 8) / 2, 1e-12);
    eab_config_level_name(&config, name, sizeof name);
    cr_expect_str_eq(name, TWO " cue=token");
    config.cue = EAB_CUE_NONE;
    cr_expect_eq(eab_config_vocab(&config), 8);
    cr_expect_eq(eab_config_cue_token(&config), -1);
    cr_expect_eq(eab_config_part_context(&config), 8);
    config = mixture_config("recurrence(basis=1024 delay=6000) + recurrence", EAB_CUE_NONE);
    cr_expect_float_eq(eab_config_complexity_bits(&config), 60000, 1e-9); /* 2^60000 is too large for a double */
}

Test(mixture, held_out_is_decided_part_by_part) {
    const eab_config config = mixture_config("recurrence(delay=2) + recurrence(delay=4)", EAB_CUE_TOKEN);
    cr_expect_not(eab_config_part_held_out(&config, 0)); /* 64 sequences */
    cr_expect(eab_config_part_held_out(&config, 1));     /* 4,096 */
}

Test(mixture, sequences_are_counted_by_part) {
    const eab_config config = mixture_config(TWO " + recurrence(basis=3)", EAB_CUE_TOKEN);
    for (int64_t sequences = 0; sequences < 20; sequences++) {
        int64_t counts[3] = {0};
        for (int64_t i = 0; i < sequences; i++) counts[i % 3]++;
        for (int32_t part = 0; part < 3; part++)
            cr_expect_eq(eab_config_part_sequences(&config, part, sequences), counts[part]);
    }
}

Test(mixture, repeated_sequences_are_counted_by_part) {
    eab_config config = mixture_config(TWO " + recurrence(basis=3)", EAB_CUE_TOKEN);
    for (config.sequences = 3; config.sequences < 9; config.sequences++)
        for (int64_t sequences = 0; sequences < 30; sequences++) {
            int64_t counts[3] = {0};
            for (int64_t i = 0; i < sequences; i++) counts[i % config.sequences % 3]++;
            for (int32_t part = 0; part < 3; part++)
                cr_expect_eq(eab_config_part_sequences(&config, part, sequences), counts[part]);
        }
}

/* ---- sequences ------------------------------------------------------------------------------------------------ */

enum { LENGTH = 9 };

Test(mixture, sequences_are_those_of_the_parts_in_turn) {
    for (int cue = EAB_CUE_TOKEN; cue <= EAB_CUE_NONE; cue++) {
        const eab_config config = mixture_config(TWO " + recurrence(delay=4)", (eab_cue)cue);
        const int32_t cued = cue == EAB_CUE_TOKEN;
        const eab_level levels[] = {eab_level_default(0), *eab_config_part(&config, 0), *eab_config_part(&config, 1),
                                    *eab_config_part(&config, 2)};
        const uint8_t held_out[] = {0, 0, 0, 1};
        const eab_parts parts = {1, 3, eab_config_cue_token(&config)};
        int32_t tokens[LENGTH], expected[LENGTH];
        uint8_t determined[LENGTH], marks[LENGTH];
        for (uint64_t index = 0; index < 300; index++) {
            const int32_t part = (int32_t)(index % 3);
            eab_parts_generate(levels, held_out, parts, 0, 7, EAB_STREAM_TRAINING, index, LENGTH, tokens, determined);
            eab_sequence_generate(&levels[1 + part], 7, EAB_STREAM_TRAINING, held_out[1 + part], index / 3,
                                  LENGTH - cued, expected, marks);
            if (cued) cr_assert(tokens[0] == 8 + part && !determined[0]);
            cr_assert_arr_eq(tokens + cued, expected, (LENGTH - (size_t)cued) * sizeof *tokens);
            cr_assert_arr_eq(determined + cued, marks, LENGTH - (size_t)cued);
            eab_parts_generate(levels, held_out, parts, part + 1, 7, EAB_STREAM_TRAINING, index / 3, LENGTH, expected,
                               marks);
            cr_assert_arr_eq(tokens, expected, sizeof tokens); /* the part by itself */
        }
    }
}

/* A backend's batches have the sequences of eab_parts_generate, in any fleet. */
Test(mixture, batches_hold_the_parts_in_turn) {
    eab_config configs[] = {mixture_config(TWO, EAB_CUE_TOKEN),
                            mixture_config(TWO " + recurrence(basis=5)", EAB_CUE_NONE), tiny_config()};
    configs[2].context = 8;
    fleet_fixture fleet;
    fleet_open(&fleet, "cpu", 3, configs);
    for (int32_t member = 0; member < 3; member++) {
        int64_t count = 0;
        for (int32_t i = 0; i < configs->batch; i++) {
            int32_t tokens[LENGTH];
            uint8_t determined[LENGTH];
            const int64_t row = ((int64_t)member * configs->batch + i) * configs->context;
            eab_parts_generate(fleet.levels, fleet.held_out, fleet.parts[member], 0, fleet.seeds[member],
                               EAB_STREAM_TRAINING, (uint64_t)i, LENGTH, tokens, determined);
            for (int32_t t = 0; t < configs->context; t++) {
                cr_assert_eq(fleet.inputs[row + t], tokens[t]);
                cr_assert_eq(fleet.targets[row + t], determined[t + 1] ? tokens[t + 1] : -1 - tokens[t + 1]);
                count += determined[t + 1];
            }
        }
        cr_expect_eq(fleet.counts[member], count);
    }
    cr_expect_eq(fleet.inputs[0], 8); /* the first part's token, then the second's */
    cr_expect_eq(fleet.inputs[configs->context], 9);
    fleet_close(&fleet);
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static void train_on_cpu(int32_t members, const eab_config *configs, eab_cell_result *results) {
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    cr_assert_eq(eab_train_fleet(device, members, configs, NULL, results), EAB_OK, "%s", eab_last_error());
    eab_device_close(device);
}

Test(mixture, the_whole_is_the_sum_of_its_parts) {
    eab_config config = mixture_config(TWO " + recurrence(delay=4)", EAB_CUE_TOKEN);
    config.context = 12;
    config.batch = 8;
    eab_cell_result result;
    train_on_cpu(1, &config, &result);
    cr_assert_eq(result.status, EAB_CELL_OK, "%s", result.reason);
    double right = 0, tokens = 0, validation = 0, loss = 0, seen = 0, sequences = 0;
    for (int part = 0; part < 3; part++) {
        /* batches of 8 sequences of 12 tokens after the task token, until there are 60 determined tokens */
        const int delay = part == 0 ? 3 : part == 1 ? 2 : 4, determined = 12 - delay;
        const int batches = (60 + 8 * determined - 1) / (8 * determined), count = batches * 8 * determined;
        const eab_cell_scores *own = &result.parts[part];
        cr_expect_float_eq(own->token_accuracy * count, round(own->token_accuracy * count), 1e-9);
        right += own->token_accuracy * count;
        validation += own->validation_accuracy * count;
        loss += own->loss_nats * count;
        tokens += count;
        seen += own->seen_share * batches * 8;
        sequences += batches * 8;
        cr_expect(own->loss_nats > 0 && own->sequence_accuracy >= 0 && own->rollout_accuracy >= 0, "part %d", part);
        cr_expect_eq(own->solved, 0);
    }
    cr_expect_float_eq(result.scores.token_accuracy, right / tokens, 1e-12);
    cr_expect_float_eq(result.scores.validation_accuracy, validation / tokens, 1e-12);
    cr_expect_float_eq(result.scores.loss_nats, loss / tokens, 1e-9);
    cr_expect_float_eq(result.scores.seen_share, seen / sequences, 1e-12);
    cr_expect_eq(result.parts[2].seen_share, 0); /* 4,096 sequences: held out */
    cr_expect_gt(result.parts[0].seen_share, 0); /* 64 */
}

/* The first part is solved early, the second is not: training continues. */
Test(mixture, is_solved_when_every_part_is) {
    eab_config config = mixture_config("recurrence(basis=2 delay=2 a=0) + recurrence(basis=16 delay=4)", EAB_CUE_TOKEN);
    config.d_model = 16;
    config.context = 12;
    config.batch = 16;
    config.lr = 0.02;
    config.steps = 800;
    config.eval_every = 100;
    config.eval_tokens = 200;
    eab_cell_result result;
    train_on_cpu(1, &config, &result);
    cr_expect_eq(result.parts[0].solved, 1, "accuracy %g", result.parts[0].token_accuracy);
    cr_expect(result.parts[0].steps_to_solve > 0 && result.parts[0].steps_to_solve <= 800);
    cr_expect_eq(result.parts[1].solved, 0);
    cr_expect_eq(result.parts[1].steps_to_solve, -1);
    cr_expect_eq(result.scores.solved, 0);
    cr_expect_eq(result.scores.steps_to_solve, -1);
    cr_expect_eq(result.steps_done, 800);

    config = mixture_config("recurrence(basis=2 delay=2 a=0) + recurrence(basis=2 delay=3 a=0)", EAB_CUE_TOKEN);
    config.d_model = 16;
    config.context = 12;
    config.batch = 16;
    config.lr = 0.02;
    config.steps = 3000;
    config.eval_every = 100;
    config.eval_tokens = 200;
    train_on_cpu(1, &config, &result);
    cr_expect_eq(result.scores.solved, 1, "accuracy %g", result.scores.token_accuracy);
    cr_expect_lt(result.steps_done, 3000);
    cr_expect_eq(result.scores.steps_to_solve, result.steps_done);
    cr_expect_eq(result.scores.steps_to_solve, MAX(result.parts[0].steps_to_solve, result.parts[1].steps_to_solve));
}

/* On the CPU a member has the same bits in any fleet, also next to members with other parts. */
Test(mixture, results_do_not_depend_on_the_fleet) {
    eab_config configs[] = {
        mixture_config(TWO, EAB_CUE_TOKEN), tiny_config(),
        mixture_config("recurrence(basis=5) + recurrence(basis=3) + recurrence(basis=11)", EAB_CUE_NONE)};
    configs[1].context = 8;
    eab_cell_result together[3], alone;
    train_on_cpu(3, configs, together);
    for (int i = 0; i < 3; i++) {
        train_on_cpu(1, &configs[i], &alone);
        cr_expect_eq(together[i].scores.loss_nats, alone.scores.loss_nats, "member %d", i);
        cr_expect_eq(together[i].scores.rollout_accuracy, alone.scores.rollout_accuracy, "member %d", i);
        for (int part = 0; configs[i].mixture && part < eab_config_part_count(&configs[i]); part++) {
            const eab_cell_scores *found = &together[i].parts[part], *expected = &alone.parts[part];
            cr_expect_eq(found->loss_nats, expected->loss_nats, "member %d, part %d", i, part);
            cr_expect_eq(found->validation_accuracy, expected->validation_accuracy, "member %d, part %d", i, part);
            cr_expect_eq(found->seen_share, expected->seen_share, "member %d, part %d", i, part);
        }
    }
}

Test(mixture, rows_are_distinguished) {
    const eab_config config = mixture_config(TWO, EAB_CUE_NONE), plain = tiny_config();
    cr_expect_eq(eab_accuracy_row_count(&config), 3);
    cr_expect_eq(eab_accuracy_row_find(&config, "mixture", TWO " cue=none", 0), 0);
    cr_expect_eq(eab_accuracy_row_find(&config, "recurrence", "basis=4 delay=3", 1), 1);
    cr_expect_eq(eab_accuracy_row_find(&config, "recurrence", "basis=8 delay=2", 2), 2);
    cr_expect_eq(eab_accuracy_row_find(&config, "mixture", TWO " cue=token", 3), -1);
    cr_expect_eq(eab_accuracy_row_find(&config, "recurrence", "basis=8 delay=3", 4), -1);
    cr_expect_eq(eab_accuracy_row_count(&plain), 1);
}
