#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "default_config.h"
#include "host/plan/validate.h"
#include "host/spec/identity.h"
#include "host/spec/options.h"
#include "tasks/task.h"

/* The options of docs/spec-files.md, in their order. */
static const struct {
    const char *section, *key, *value;
} table[] = {
    {"model", "layers", "1"},
    {"model", "d_model", "32"},
    {"model", "heads", "4"},
    {"model", "mlp_ratio", "4"},
    {"model", "context", "24"},
    {"model", "position", "alibi"},
    {"model", "alibi_span", "8"},
    {"model", "norm", "layer"},
    {"model", "activation", "relu"},
    {"model", "bias", "on"},
    {"model", "embedding", "learned"},
    {"model", "init_scale", "1"},
    {"model", "embedding_scale", "0.5"},
    {"model", "qk_init", "1"},
    {"model", "qk_norm", "off"},
    {"train", "mechanism", "dpa"},
    {"train", "scale", "auto"},
    {"train", "optimizer", "adamw"},
    {"train", "lr", "0.01"},
    {"train", "beta1", "0.9"},
    {"train", "beta2", "0.98"},
    {"train", "momentum", "0.9"},
    {"train", "weight_decay", "0.01"},
    {"train", "clip", "1"},
    {"train", "steps", "3000"},
    {"train", "batch", "32"},
    {"train", "warmup", "100"},
    {"train", "schedule", "cosine"},
    {"train", "lr_final", "0.1"},
    {"train", "seed", "1"},
    {"train", "eval_every", "250"},
    {"train", "eval_tokens", "10000"},
    {"train", "stop_when_solved", "on"},
    {"train", "heldout", "auto"},
    {"train", "precision", "float32"},
    {"train", "dropout", "0"},
    {"train", "sequences", "0"},
    {"train", "mix", "none"},
};

Test(options, table_is_the_documented_one) {
    cr_assert_eq((size_t)eab_option_count, sizeof table / sizeof *table);
    const eab_config config = default_config(0);
    for (int i = 0; i < eab_option_count; i++) {
        char value[64];
        eab_option_print(&eab_options[i], &config, value, sizeof value);
        cr_expect_str_eq(eab_options[i].section, table[i].section);
        cr_expect_str_eq(eab_options[i].key, table[i].key);
        cr_expect_str_eq(value, table[i].value, "%s: %s", table[i].key, value);
        cr_expect(eab_option_within(&eab_options[i], eab_options[i].default_value), "%s", table[i].key);
        cr_expect(eab_options[i].help && *eab_options[i].help && !strchr(eab_options[i].help, '\n'));
        cr_expect_eq(eab_option_find(table[i].section, table[i].key), &eab_options[i]);
    }
    cr_expect_null(eab_option_find("train", "layers"));
    cr_expect_null(eab_option_find("recurrence", "lr"));
    cr_expect_null(eab_option_find("nothing", "lr"));
}

/* Setting an option changes no other option. */
Test(options, fields_do_not_overlap) {
    eab_config config = default_config(0);
    for (int i = 0; i < eab_option_count; i++) {
        const eab_option *option = &eab_options[i];
        const double other = option->default_value == 1 ? 0 : 1;
        eab_option_set(option, &config, other);
        cr_expect_eq(eab_option_get(option, &config), other, "%s", option->key);
        for (int j = i + 1; j < eab_option_count; j++)
            cr_expect_eq(eab_option_get(&eab_options[j], &config), eab_options[j].default_value, "%s changed %s",
                         option->key, eab_options[j].key);
    }
}

Test(options, mechanisms_come_from_the_kernels) {
    const eab_option *mechanism = eab_option_find("train", "mechanism");
    int32_t count = 0;
    for (; mechanism->choices[count]; count++) {
        cr_expect_str_eq(mechanism->choices[count], eab_mechanism_name(count));
        cr_expect_eq(eab_mechanism_from_name(mechanism->choices[count]), count);
    }
    cr_expect_null(eab_mechanism_name(count));
}

Test(options, task_options_come_from_the_families) {
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_task *task = eab_task_at(family);
        const eab_config config = default_config(family);
        cr_expect_null(eab_option_at(task->name, task->option_count));
        for (int i = 0; i < task->option_count; i++) {
            const eab_option *option = eab_option_at(task->name, i);
            cr_expect_str_eq(option->section, task->name);
            cr_expect_eq(option, eab_option_find(task->name, task->options[i].key));
            cr_expect_eq(eab_option_get(option, &config), task->options[i].default_value);
        }
    }
}

Test(options, reals_print_shortest) {
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {10, "10"},
                 {-3, "-3"},
                 {1e6, "1000000"},
                 {0.1, "0.1"},
                 {1e-2, "0.01"},
                 {1e-5, "1e-05"},
                 {1e300, "1e+300"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {5e-324, "5e-324"},
                 {DBL_MAX, "1.7976931348623157e+308"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[40];
        eab_real_print(cases[i].value, text, sizeof text);
        cr_expect_str_eq(text, cases[i].text, "got %s", text);
        cr_expect_eq(strtod(text, NULL), cases[i].value);
    }
}

Test(options, allowed_text) {
    static const struct {
        const char *section, *key, *text;
    } cases[] = {{"model", "layers", "an integer 1..64"},
                 {"train", "eval_every", "an integer, at least 1"},
                 {"train", "lr", "a real above 0, at most 10"},
                 {"train", "beta1", "a real at least 0, below 1"},
                 {"train", "clip", "a real at least 0"},
                 {"train", "lr_final", "a real 0..1"},
                 {"train", "scale", "auto, or a real 1e-30..1e+30"},
                 {"model", "position", "learned, alibi, rope, none"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        eab_option_allowed(eab_option_find(cases[i].section, cases[i].key), text, sizeof text);
        cr_expect_str_eq(text, cases[i].text, "got %s", text);
    }
}

Test(options, help_has_every_option) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    eab_options_help(file);
    fclose(file);
    for (int i = 0; i < eab_option_count; i++) {
        char key[64];
        snprintf(key, sizeof key, " %s ", eab_options[i].key);
        cr_expect(strstr(text, key), "%s", key);
        cr_expect(strstr(text, eab_options[i].help), "%s", eab_options[i].help);
    }
    cr_expect(strstr(text, "task recurrence      delay"));
    free(text);
}

/* ---- a cell as a whole --------------------------------------------------------------------------------------- */

static eab_config config_with(const char *section, const char *key, double value) {
    eab_config config = default_config(0);
    eab_option_set(eab_option_find(section, key), &config, value);
    return config;
}

static void expect_refused(const eab_config *config, const char *error) {
    cr_expect_eq(eab_config_check(config), EAB_BAD_INPUT);
    cr_expect(strncmp(eab_last_error(), error, strlen(error)) == 0, "got %s", eab_last_error());
}

Test(options, default_cell_is_valid) {
    const eab_config config = default_config(0);
    cr_expect_eq(eab_config_check(&config), EAB_OK, "%s", eab_last_error());
}

Test(options, heads_must_divide_d_model) {
    eab_config config = config_with("model", "d_model", 30);
    expect_refused(&config,
                   "[model] d_model = 30, heads = 4: d_model is no multiple of heads; allowed: 28 or 32, for example");
    config = config_with("model", "d_model", 2);
    expect_refused(&config, "[model] d_model = 2, heads = 4: d_model is no multiple of heads; allowed: 4, for example");
    config = config_with("model", "d_model", 1024);
    config.heads = 2;
    expect_refused(&config,
                   "[model] d_model = 1024, heads = 2: head_dim = d_model / heads = 512; allowed: at most 256");
}

Test(options, rope_needs_even_heads) {
    eab_config config = config_with("model", "d_model", 36);
    cr_expect_eq(eab_config_check(&config), EAB_OK);
    config.position = EAB_POSITION_ROPE;
    expect_refused(&config, "[model] position = rope, d_model = 36, heads = 4: head_dim = 9 is odd; allowed: an even");
}

Test(options, onehot_needs_room) {
    eab_config config = config_with("model", "embedding", EAB_EMBEDDING_ONEHOT);
    cr_expect_eq(eab_config_check(&config), EAB_OK);
    config.level.option[0] = 33;
    expect_refused(&config, "[model] embedding = onehot, d_model = 32: less than the 33 tokens of [task recurrence] "
                            "basis=33 delay=4; allowed: d_model 33..1024");
}

Test(options, families_check_their_level) {
    eab_config config = config_with("recurrence", "delay", 24);
    expect_refused(&config, "[task recurrence] basis=8 delay=24: delay = 24 leaves nothing to predict in context = 24; "
                            "allowed: 1..23");
    config = config_with("recurrence", "b", 8);
    expect_refused(&config, "[task recurrence] basis=8 delay=4 b=8: b = 8; allowed: 0..7");
}

Test(options, hash_needs_sequences_to_set_apart) {
    eab_config config = config_with("train", "heldout", EAB_HELD_OUT_HASH);
    cr_expect_eq(eab_config_check(&config), EAB_OK);
    config.level.option[0] = 2; /* two sequences: the hash may set none or all of them apart */
    config.level.option[1] = 1;
    if (!eab_level_has_held_out(&config.level, config.context))
        expect_refused(&config, "[train] heldout = hash: too few sequences in [task recurrence] basis=2 delay=1");
}

Test(options, memory_is_bounded) {
    eab_config config = config_with("train", "batch", 65536);
    config.context = 65536;
    expect_refused(&config,
                   "[train] batch = 65536, [model] context = 65536: batch * (context + 1) = 4295032832 tokens");
    config.context = 32766;
    config.d_model = 1024;
    config.layers = 64;
    eab_cell cell = {.config = config};
    const eab_plan plan = {.cells = &cell, .count = 1};
    eab_device *device;
    double fitting;
    cr_assert_eq(eab_device_open("reference", 0, &device), EAB_OK); /* whole batches: petabytes */
    cr_expect_eq(eab_plan_check_memory(&plan, device, &fitting), EAB_BAD_INPUT);
    cr_expect(strstr(eab_last_error(), "layers = 64, d_model = 1024: does not fit in memory: 8"), "%s",
              eab_last_error());
    cr_expect_lt(fitting, 1);
    cell.config = default_config(0);
    cr_expect_eq(eab_plan_check_memory(&plan, device, &fitting), EAB_OK, "%s", eab_last_error());
    cr_expect_gt(fitting, 1);
    eab_device_close(device);
}

/* ---- identity ------------------------------------------------------------------------------------------------ */

Test(options, ids_are_pinned) {
    char id[17];
    eab_config config = default_config(0);
    eab_config_id(&config, id);
    cr_expect_str_eq(id, "c73eb4977a2d8933", "got %s", id); /* printf 'task=recurrence\n' | sha256sum */
    config.level.option[1] = 6;
    config.mechanism = eab_mechanism_from_name("ea-scaled");
    config.lr = 0.02;
    config.seed = 4294967295;
    eab_config_id(&config, id);
    /* printf
     * 'recurrence.delay=6\ntask=recurrence\ntrain.lr=0.02\ntrain.mechanism=ea-scaled\ntrain.seed=4294967295\n' */
    cr_expect_str_eq(id, "1aab8f9fa760d3c4", "got %s", id);
}

Test(options, every_option_changes_the_id) {
    char standard[17], id[17];
    eab_config config = default_config(0);
    eab_config_id(&config, standard);
    for (int i = -eab_task_at(0)->option_count; i < eab_option_count; i++) {
        const eab_option *option = i < 0 ? eab_option_at(eab_family_name(0), -1 - i) : &eab_options[i];
        eab_option_set(option, &config, option->default_value == 1 ? 0 : 1);
        eab_config_id(&config, id);
        cr_expect_str_neq(id, standard, "%s", option->key);
        eab_option_set(option, &config, option->default_value);
        eab_config_id(&config, id);
        cr_expect_str_eq(id, standard, "%s", option->key);
    }
}
