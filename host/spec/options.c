/* The table of options (docs/spec-files.md), in its order, and what is derived from it. */
#include "options.h"

#include <float.h>
#include <glib.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/suggest.h"
#include "kernels/mechanism.h"
#include "tasks/task.h"

static const double largest_integer = 9007199254740992.0; /* 2^53: exact as a double, as are all below */

static const char *const switches[] = {"off", "on", NULL};
static const char *const positions[] = {[EAB_POSITION_LEARNED] = "learned",
                                        [EAB_POSITION_ALIBI] = "alibi",
                                        [EAB_POSITION_ROPE] = "rope",
                                        [EAB_POSITION_NONE] = "none",
                                        NULL};
static const char *const norms[] = {[EAB_NORM_LAYER] = "layer", [EAB_NORM_NONE] = "none", NULL};
static const char *const activations[] = {[EAB_ACTIVATION_RELU] = "relu", [EAB_ACTIVATION_GELU] = "gelu", NULL};
static const char *const embeddings[] = {[EAB_EMBEDDING_LEARNED] = "learned", [EAB_EMBEDDING_ONEHOT] = "onehot", NULL};
static const char *const optimizers[] = {[EAB_OPTIMIZER_ADAMW] = "adamw", [EAB_OPTIMIZER_SGD] = "sgd", NULL};
static const char *const schedules[] = {
    [EAB_SCHEDULE_CONSTANT] = "constant", [EAB_SCHEDULE_LINEAR] = "linear", [EAB_SCHEDULE_COSINE] = "cosine", NULL};
static const char *const held_out_modes[] = {
    [EAB_HELD_OUT_AUTO] = "auto", [EAB_HELD_OUT_HASH] = "hash", [EAB_HELD_OUT_NONE] = "none", NULL};
static const char *const cues[] = {[EAB_CUE_TOKEN] = "token", [EAB_CUE_NONE] = "none", NULL};
static const char *const precisions[] = {
    [EAB_PRECISION_FLOAT32] = "float32", [EAB_PRECISION_TF32] = "tf32", [EAB_PRECISION_BF16] = "bf16", NULL};
#define MECHANISM_NAME(identifier, name, class_name, scale, formula) [EAB_MECHANISM_##identifier] = name,
static const char *const mechanisms[] = {EAB_MECHANISM_LIST(MECHANISM_NAME) NULL};
#undef MECHANISM_NAME

/* An option's key is the name of its field in eab_config. */
#define OPTION(kind_, section_, key_, default_, ...)                                            \
    {                                                                                           \
        .section = section_, .key = #key_, .kind = kind_, .offset = offsetof(eab_config, key_), \
        .default_value = default_, __VA_ARGS__                                                  \
    }
#define INT32(section_, key_, default_, minimum_, maximum_, help_) \
    OPTION(EAB_OPTION_INT32, section_, key_, default_, .minimum = minimum_, .maximum = maximum_, .help = help_)
#define INT64(section_, key_, default_, minimum_, maximum_, help_) \
    OPTION(EAB_OPTION_INT64, section_, key_, default_, .minimum = minimum_, .maximum = maximum_, .help = help_)
#define REAL(section_, key_, default_, minimum_, maximum_, ...) \
    OPTION(EAB_OPTION_REAL, section_, key_, default_, .minimum = minimum_, .maximum = maximum_, __VA_ARGS__)
#define CHOICE(section_, key_, default_, choices_, help_) \
    OPTION(EAB_OPTION_CHOICE, section_, key_, default_, .choices = choices_, .help = help_)

const eab_option eab_options[] = {
    INT32("model", layers, 1, 1, 64, "transformer layers"),
    INT32("model", d_model, 32, 1, 1024, "width of the residual stream, a multiple of heads"),
    INT32("model", heads, 4, 1, 64, "attention heads; d_model / heads, at most 256, is head_dim"),
    INT32("model", mlp_ratio, 4, 0, 16, "MLP width as a multiple of d_model; 0: no MLP"),
    INT32("model", context, 24, 2, 65536, "input positions; a sequence has one token more"),
    CHOICE("model", position, EAB_POSITION_ALIBI, positions, "encoding of positions; rope needs an even head_dim"),
    REAL("model", alibi_span, 8, 0, 64, .above_minimum = true,
         .help = "ALiBi slopes are 2^(-alibi_span * (h + 1) / heads)"),
    CHOICE("model", norm, EAB_NORM_LAYER, norms, "pre-norm and final norm"),
    CHOICE("model", activation, EAB_ACTIVATION_RELU, activations, "of the MLP"),
    CHOICE("model", bias, 1, switches, "biases in the linear maps and norms"),
    CHOICE("model", embedding, EAB_EMBEDDING_LEARNED, embeddings, "of tokens; onehot needs d_model >= vocabulary"),
    REAL("model", init_scale, 1, 0, 100, .above_minimum = true, .help = "initial matrices: this times 1/sqrt(fan_in)"),
    REAL("model", embedding_scale, 0.5, 0, 100, .above_minimum = true,
         .help = "standard deviation of initial embeddings, of tokens and places"),
    REAL("model", qk_init, 1, 0, 100, .above_minimum = true, .help = "extra factor on the initial q and k maps"),
    CHOICE("model", qk_norm, 0, switches, "RMS norm of each head's q and k, with a learned gain per head dimension"),

    CHOICE("train", mechanism, 0, mechanisms, "how attention weighs a score"),
    /* Bounds that a float holds: 0 in a kernel means "the mechanism's". */
    REAL("train", scale, 0, 1e-30, 1e30, .zero_word = "auto",
         .help = "factor of q . k; auto: the mechanism's own, 1 or 1/sqrt(head_dim)"),
    CHOICE("train", optimizer, EAB_OPTIMIZER_ADAMW, optimizers, "AdamW, or SGD with momentum"),
    REAL("train", lr, 1e-2, 0, 10, .above_minimum = true, .help = "learning rate after warmup"),
    REAL("train", beta1, 0.9, 0, 1, .below_maximum = true, .help = "adamw: decay of the gradient's mean"),
    REAL("train", beta2, 0.98, 0, 1, .below_maximum = true, .help = "adamw: decay of the squared gradient's mean"),
    REAL("train", momentum, 0.9, 0, 1, .below_maximum = true, .help = "sgd: decay of the velocity"),
    REAL("train", weight_decay, 0.01, 0, DBL_MAX, .help = "decoupled: times lr; not on gains and biases"),
    REAL("train", clip, 1, 0, DBL_MAX, .help = "largest norm of the gradient; 0: off"),
    INT64("train", steps, 3000, 1, 1e9, "optimizer steps"),
    INT32("train", batch, 32, 1, 65536, "sequences a step"),
    INT64("train", warmup, 100, 0, largest_integer, "steps over which the rate rises to lr"),
    CHOICE("train", schedule, EAB_SCHEDULE_COSINE, schedules, "the rate's way from lr to lr_final"),
    REAL("train", lr_final, 0.1, 0, 1, .help = "the last step's rate, as a share of lr"),
    INT64("train", seed, 1, 0, 4294967295.0, "of weights and data"),
    INT64("train", eval_every, 250, 1, largest_integer, "steps between evaluations"),
    INT64("train", eval_tokens, 10000, 1, largest_integer, "determined tokens of an evaluation, at least"),
    CHOICE("train", stop_when_solved, 1, switches, "end when every validation token is right"),
    CHOICE("train", heldout, EAB_HELD_OUT_AUTO, held_out_modes,
           "evaluate on sequences that are never trained on; auto: where a level has 4,096"),
    CHOICE("train", precision, EAB_PRECISION_FLOAT32, precisions,
           "of the inputs of matrix products; tf32 and bf16 on a GPU only. Weights and sums stay float32"),
    REAL("train", dropout, 0, 0, 1, .below_maximum = true, .later = true,
         .help = "share of the residual stream that a training step leaves out; 0: none"),
    OPTION(EAB_OPTION_INT64, "train", sequences, 0, .minimum = 0, .maximum = largest_integer, .later = true,
           .help = "size of the training set, which is repeated; 0: new sequences at each step"),
    REAL("train", mix, 0, 0.001, 0.999, .zero_word = "none", .later = true, /* EAB_MIX_LEAST, EAB_MIX_MOST */
         .help = "mechanism = mix only: the weight's share of ea-scaled; the rest is dpa"),
};
const int eab_option_count = sizeof eab_options / sizeof *eab_options;

static const eab_option mixture_options[] = {
    {.section = "mixture",
     .key = "parts",
     .kind = EAB_OPTION_MIXTURE,
     .offset = offsetof(eab_config, mixture),
     .help = "levels to learn together: recurrence(basis=8 delay=2) + recurrence(basis=4 delay=3)"},
    CHOICE("mixture", cue, EAB_CUE_TOKEN, cues,
           "how a sequence shows its part: by its first token, or only by the rest of it"),
};
enum { MIXTURE_OPTION_COUNT = sizeof mixture_options / sizeof *mixture_options };

const char *eab_family_name(int family) { return family == EAB_FAMILY_MIXTURE ? "mixture" : eab_task_at(family)->name; }

int eab_family_read(const char *name, int count, const char *where, int *family) {
    const char *families[EAB_FAMILY_COUNT + 1] = {NULL};
    char allowed[256], shown[80];
    for (*family = 0; *family < count; ++*family) {
        families[*family] = eab_family_name(*family);
        if (strcmp(name, families[*family]) == 0) return EAB_OK;
    }
    eab_join(families, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown task family '%s'; nearest: %s; allowed: %s", where,
                    eab_excerpt(name, 40, shown, sizeof shown), eab_suggest(name, families), allowed);
}

static eab_option task_options[EAB_TASK_TEXT + 1][EAB_TASK_MAX_OPTIONS];

static const eab_option text_file = {.section = "text",
                                     .key = "file",
                                     .kind = EAB_OPTION_FILE,
                                     .offset = offsetof(eab_config, level.text),
                                     .help = "of UTF-8 text, or with unit = byte of any content"};

bool eab_option_is_before(int family, const char *key) {
    for (int before = 0; before < family; before++)
        for (int i = 0; i < eab_task_at(before)->option_count; i++)
            if (strcmp(eab_task_at(before)->options[i].key, key) == 0) return true;
    return false;
}

static const char *later_keys[64];
static int later_count;

uint64_t eab_option_later(const char *key) {
    eab_option_at("model", 0); /* fills the table */
    for (int i = 0; i < later_count; i++)
        if (strcmp(later_keys[i], key) == 0) return UINT64_C(1) << i;
    return 0;
}

/* Families share their keys' columns: `first` is whether this is the key's first option. */
static void note_later(const eab_option *option, bool first) {
    if (!option->later || !first) return;
    if (later_count == G_N_ELEMENTS(later_keys)) g_error("more than %d later options", later_count);
    later_keys[later_count++] = option->key;
}

static void fill_task_options(void) {
    for (int family = 0; family <= EAB_TASK_TEXT; family++) {
        const eab_task *task = eab_task_at(family);
        const int first = family == EAB_TASK_TEXT;
        if (first) task_options[family][0] = text_file;
        for (int i = 0; i < task->option_count; i++) {
            const eab_task_option *option = &task->options[i];
            task_options[family][first + i] =
                (eab_option){.section = task->name,
                             .key = option->key,
                             .kind = option->choices ? EAB_OPTION_CHOICE : EAB_OPTION_INT32,
                             .choices = option->choices,
                             .offset = offsetof(eab_config, level.option) + (size_t)i * sizeof(int32_t),
                             .default_value = option->default_value,
                             .minimum = option->minimum,
                             .maximum = option->maximum,
                             .help = option->help,
                             .later = i >= task->option_count - task->later_count};
            note_later(&task_options[family][first + i], !eab_option_is_before(family, option->key));
        }
    }
    for (int i = 0; i < eab_option_count; i++) note_later(&eab_options[i], true);
}

const eab_option *eab_option_at(const char *section, int index) {
    static pthread_once_t filled = PTHREAD_ONCE_INIT;
    pthread_once(&filled, fill_task_options);
    if (strcmp(section, "mixture") == 0) return index < MIXTURE_OPTION_COUNT ? &mixture_options[index] : NULL;
    const int family = eab_task_from_name(section);
    if (family >= 0) {
        const int count = eab_task_at(family)->option_count + (family == EAB_TASK_TEXT);
        return index < count ? &task_options[family][index] : NULL;
    }
    for (int i = 0; i < eab_option_count; i++)
        if (strcmp(eab_options[i].section, section) == 0 && index-- == 0) return &eab_options[i];
    return NULL;
}

const eab_option *eab_option_find(const char *section, const char *key) {
    const eab_option *option;
    for (int i = 0; (option = eab_option_at(section, i)); i++)
        if (strcmp(option->key, key) == 0) break;
    return option;
}

/* The later ones of these options that have another value than their default. */
static uint64_t later_of(const eab_option *options, int count, const eab_config *config) {
    uint64_t later = 0;
    for (int i = 0; i < count; i++)
        if (options[i].later && eab_option_get(&options[i], config) != options[i].default_value)
            later |= eab_option_later(options[i].key);
    return later;
}

uint64_t eab_level_later(const eab_level *level) {
    const eab_task *task = eab_task_at(level->family);
    const eab_option *options = eab_option_at(task->name, level->family == EAB_TASK_TEXT);
    return options ? later_of(options, task->option_count, &(eab_config){.level = *level}) : 0;
}

uint64_t eab_config_later(const eab_config *config) { return later_of(eab_options, eab_option_count, config); }

int eab_option_refuse_key(const char *section, const char *shown, const char *key, const char *where) {
    const char *names[64] = {NULL}, *other = NULL;
    char allowed[512], hint[128];
    for (int i = 0; eab_option_at(section, i); i++) names[i] = eab_option_at(section, i)->key;
    for (int i = 0; i < eab_option_count; i++)
        if (strcmp(eab_options[i].key, key) == 0) other = eab_options[i].section;
    for (int family = 0; family < EAB_FAMILY_COUNT && !other; family++)
        if (eab_option_find(eab_family_name(family), key)) other = "task ...";
    if (other) snprintf(hint, sizeof hint, "it belongs into [%s]", other);
    else snprintf(hint, sizeof hint, "nearest: %s", eab_suggest(key, names));
    eab_join(names, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "%s: unknown key in [%s]; %s; allowed: %s", where, shown, hint, allowed);
}

double eab_option_get(const eab_option *option, const eab_config *config) {
    const void *field = (const char *)config + option->offset;
    if (option->kind == EAB_OPTION_INT64) return (double)*(const int64_t *)field;
    if (option->kind == EAB_OPTION_REAL) return *(const double *)field;
    return *(const int32_t *)field;
}

void eab_option_set(const eab_option *option, eab_config *config, double value) {
    void *field = (char *)config + option->offset;
    if (option->kind == EAB_OPTION_INT64) *(int64_t *)field = (int64_t)value;
    else if (option->kind == EAB_OPTION_REAL) *(double *)field = value;
    else *(int32_t *)field = (int32_t)value;
}

void eab_real_print(double value, char *text, size_t size) {
    char shortest[G_ASCII_DTOSTR_BUF_SIZE], format[16];
    if (fabs(value) < 1e15 && value == floor(value)) { /* %g would make 1e+01 of 10 */
        snprintf(text, size, "%.0f", value);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(format, sizeof format, "%%.%dg", digits);
        g_ascii_formatd(shortest, sizeof shortest, format, value);
        if (g_ascii_strtod(shortest, NULL) == value) break;
    }
    g_strlcpy(text, shortest, size);
}

void eab_option_print_value(const eab_option *option, double value, char *text, size_t size) {
    if (option->kind == EAB_OPTION_CHOICE) g_strlcpy(text, option->choices[(int)value], size);
    else if (option->kind != EAB_OPTION_REAL) snprintf(text, size, "%lld", (long long)value);
    else if (option->zero_word && value == 0) g_strlcpy(text, option->zero_word, size);
    else eab_real_print(value, text, size);
}

void eab_option_print(const eab_option *option, const eab_config *config, char *text, size_t size) {
    eab_option_print_value(option, eab_option_get(option, config), text, size);
}

bool eab_option_within(const eab_option *option, double value) {
    if (option->zero_word && value == 0) return true;
    if (option->kind == EAB_OPTION_CHOICE) {
        for (int i = 0; option->choices[i]; i++)
            if (value == i) return true;
        return false;
    }
    return (option->above_minimum ? value > option->minimum : value >= option->minimum) &&
           (option->below_maximum ? value < option->maximum : value <= option->maximum);
}

static void print_allowed_reals(const eab_option *option, char *text, size_t size) {
    char minimum[32], maximum[32];
    const char *word = option->zero_word ? option->zero_word : "", * or = option->zero_word ? ", or " : "";
    eab_real_print(option->minimum, minimum, sizeof minimum);
    eab_real_print(option->maximum, maximum, sizeof maximum);
    const bool bounded = option->maximum < DBL_MAX;
    if (bounded && !option->above_minimum && !option->below_maximum)
        snprintf(text, size, "%s%sa real %s..%s", word, or, minimum, maximum);
    else
        snprintf(text, size, "%s%sa real %s %s%s%s", word, or, option->above_minimum ? "above" : "at least", minimum,
                 !bounded                ? ""
                 : option->below_maximum ? ", below "
                                         : ", at most ",
                 bounded ? maximum : "");
}

void eab_option_allowed(const eab_option *option, char *text, size_t size) {
    if (option->kind == EAB_OPTION_CHOICE) eab_join(option->choices, text, size);
    else if (option->kind == EAB_OPTION_MIXTURE)
        snprintf(text, size, "%d..%d levels joined by +", EAB_MIXTURE_MIN_PARTS, EAB_MAX_PARTS);
    else if (option->kind == EAB_OPTION_FILE) snprintf(text, size, "a path");
    else if (option->kind == EAB_OPTION_REAL) print_allowed_reals(option, text, size);
    else if (option->maximum >= largest_integer) snprintf(text, size, "an integer, at least %.0f", option->minimum);
    else snprintf(text, size, "an integer %.0f..%.0f", option->minimum, option->maximum);
}

static void print_help_line(FILE *file, const char *section, const eab_option *option) {
    char value[32] = "", allowed[128];
    if (eab_option_is_number(option)) eab_option_print_value(option, option->default_value, value, sizeof value);
    eab_option_allowed(option, allowed, sizeof allowed);
    fprintf(file, "  %-20s %-17s %-8s %-30s  %s\n", section, option->key, value, allowed, option->help);
}

void eab_options_help(FILE *file) {
    fprintf(file, "  %-20s %-17s %-8s %-30s  %s\n", "section", "key", "default", "allowed", "");
    for (int family = 0; family < EAB_FAMILY_COUNT; family++) {
        const char *name = eab_family_name(family);
        char section[64];
        snprintf(section, sizeof section, "task %s", name);
        for (int i = 0; eab_option_at(name, i); i++) print_help_line(file, section, eab_option_at(name, i));
    }
    for (int i = 0; i < eab_option_count; i++) print_help_line(file, eab_options[i].section, &eab_options[i]);
}
