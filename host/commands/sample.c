/* eabench sample: continues a prompt with a saved model. */
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "base/suggest.h"
#include "model/decode.h"
#include "model/safetensors.h"
#include "plan/validate.h"
#include "spec/cell_task.h"

enum { DEFAULT_TOKENS = 200, MAX_TOKENS = 1000000000, MAX_TEMPERATURE = 100 };

typedef struct {
    char **models, *prompt;
    gint64 tokens, seed;
    double temperature;
} arguments;

typedef struct {
    const arguments *options;
    eab_saved_model saved;
    eab_decoder decoder;
    int32_t vocab;
    GArray *window;  /* of int32_t: the tokens that the decoder holds, at most the context */
    double *weights; /* [vocab], scratch */
    eab_random random;
} sampler;

/* Returns an exit code, or -1 to continue. */
static int parse(arguments *a, int argc, char **argv) {
    const GOptionEntry entries[] = {
        {"prompt", 0, 0, G_OPTION_ARG_FILENAME, &a->prompt,
         "text that the model knows the characters of; of a model without an alphabet numbers of tokens, such as "
         "\"3 1 4\" (default: the first token)",
         "TEXT"},
        {"tokens", 0, 0, G_OPTION_ARG_INT64, &a->tokens, "how many to add (default: 200)", "N"},
        {"temperature", 0, 0, G_OPTION_ARG_DOUBLE, &a->temperature,
         "divides the logits; 0: always the most probable token (default: 1)", "T"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &a->seed, "of the draws (default: 1)", "S"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->models, NULL, "MODEL.safetensors"},
        {0},
    };
    return eab_command_parse(
        "sample", "- continue a prompt with a saved model",
        "MODEL is a file of RUN/models, which eabench sweep --save-models writes. The prompt and its continuation\n"
        "go to standard output. The model sees at most its context: when that is full, the older half is dropped.",
        entries, argc, argv);
}

static int check(const arguments *a) {
    char shown[80];
    if (!a->models) return eab_fail(EAB_BAD_INPUT, "no model; usage: eabench sample MODEL.safetensors, see --help");
    if (a->models[1])
        return eab_fail(EAB_BAD_INPUT, "%s: a second model; one is allowed",
                        eab_excerpt(a->models[1], 60, shown, sizeof shown));
    if (a->tokens < 0 || a->tokens > MAX_TOKENS)
        return eab_fail(EAB_BAD_INPUT, "--tokens is %lld; 0..%d are allowed", (long long)a->tokens, MAX_TOKENS);
    if (!(a->temperature >= 0 && a->temperature <= MAX_TEMPERATURE))
        return eab_fail(EAB_BAD_INPUT, "--temperature is %g; 0..%d are allowed", a->temperature, MAX_TEMPERATURE);
    if (a->seed < 0 || a->seed > UINT32_MAX)
        return eab_fail(EAB_BAD_INPUT, "--seed is %lld; 0..4294967295 are allowed", (long long)a->seed);
    return EAB_OK;
}

/* ---- symbols --------------------------------------------------------------------------------------------------- */

static bool by_byte(const sampler *s) { return s->saved.config.level.option[EAB_TEXT_UNIT] == EAB_TEXT_BYTES; }

static int add_symbol(sampler *s, uint32_t symbol, const char *shown) {
    const uint32_t *symbols = s->saved.text.unit[0].symbols;
    for (int32_t token = 0; token < s->vocab; token++)
        if (symbols[token] == symbol) {
            g_array_append_val(s->window, token);
            return EAB_OK;
        }
    return eab_fail(EAB_BAD_INPUT,
                    "--prompt: the model has no '%s'; allowed: what occurs in the text it was trained on", shown);
}

static int add_text(sampler *s, const char *prompt) {
    char shown[32];
    if (!by_byte(s) && !g_utf8_validate(prompt, -1, NULL))
        return eab_fail(EAB_BAD_INPUT, "--prompt: not UTF-8; the model's tokens are characters");
    for (const char *c = prompt; *c;) {
        const char *next = by_byte(s) ? c + 1 : g_utf8_next_char(c);
        char one[8] = "";
        memcpy(one, c, (size_t)(next - c));
        EAB_TRY(add_symbol(s, by_byte(s) ? (unsigned char)*c : g_utf8_get_char(c),
                           eab_excerpt(one, sizeof one, shown, sizeof shown)));
        c = next;
    }
    return EAB_OK;
}

static int add_numbers(sampler *s, const char *prompt) {
    char **words = g_strsplit_set(prompt, " \t\n", -1), shown[40];
    int status = EAB_OK;
    for (char **word = words; *word && !status; word++) {
        guint64 number;
        if (!**word) continue;
        if (g_ascii_string_to_unsigned(*word, 10, 0, (guint64)s->vocab - 1, &number, NULL)) {
            const int32_t token = (int32_t)number;
            g_array_append_val(s->window, token);
        } else {
            status = eab_fail(EAB_BAD_INPUT, "--prompt: %s: no token of the model; allowed: 0..%d, with blanks between",
                              eab_excerpt(*word, 20, shown, sizeof shown), s->vocab - 1);
        }
    }
    g_strfreev(words);
    return status;
}

static void print_token(const sampler *s, int32_t token, bool first) {
    const uint32_t symbol = s->saved.text.unit[0].symbols[token];
    char bytes[8] = {(char)symbol};
    if (!s->saved.has_alphabet) printf(first ? "%u" : " %u", symbol);
    else fwrite(bytes, 1, by_byte(s) ? 1 : (size_t)g_unichar_to_utf8(symbol, bytes), stdout);
}

/* ---- sampling -------------------------------------------------------------------------------------------------- */

/* From softmax(logits / temperature). */
static int32_t draw(sampler *s, const float *logits) {
    const double temperature = s->options->temperature;
    int32_t best = 0;
    double sum = 0;
    for (int32_t token = 1; token < s->vocab; token++)
        if (logits[token] > logits[best]) best = token;
    if (temperature == 0) return best;
    for (int32_t token = 0; token < s->vocab; token++)
        sum += s->weights[token] = exp(((double)logits[token] - logits[best]) / temperature);
    double left = ldexp(eab_random_word(&s->random) + 0.5, -32) * sum;
    for (int32_t token = 0; token < s->vocab; token++)
        if ((left -= s->weights[token]) < 0) return token;
    return best; /* rounding, or logits that are not numbers */
}

/* Appends one token to the window and feeds it; a full window drops its older half and is fed again. */
static int feed(sampler *s, int32_t token, const float **logits) {
    const guint context = (guint)s->saved.config.context;
    const bool full = s->window->len == context;
    if (full) {
        g_array_remove_range(s->window, 0, (context + 1) / 2);
        eab_decoder_reset(&s->decoder);
    }
    g_array_append_val(s->window, token);
    const guint first = full ? 0 : s->window->len - 1;
    return eab_decoder_feed(&s->decoder, &g_array_index(s->window, int32_t, first), (int32_t)(s->window->len - first),
                            logits);
}

static int generate(sampler *s) {
    const float *logits;
    const guint context = (guint)s->saved.config.context;
    for (guint i = 0; i < s->window->len; i++) print_token(s, g_array_index(s->window, int32_t, i), i == 0);
    if (s->window->len > context) g_array_remove_range(s->window, 0, s->window->len - context);
    EAB_TRY(eab_decoder_feed(&s->decoder, &g_array_index(s->window, int32_t, 0), (int32_t)s->window->len, &logits));
    for (gint64 i = 0; i < s->options->tokens && !ferror(stdout); i++) {
        const int32_t token = draw(s, logits);
        print_token(s, token, false);
        if (i + 1 < s->options->tokens) EAB_TRY(feed(s, token, &logits));
    }
    putchar('\n');
    return EAB_OK;
}

/* With the file open and the device's decoder not yet open. */
static int sample_on(eab_device *device, sampler *s) {
    const int32_t first = 0;
    const char *prompt = s->options->prompt;
    EAB_TRY(eab_config_check_model(&s->saved.config));
    s->vocab = eab_config_vocab(&s->saved.config);
    if (prompt) EAB_TRY((s->saved.has_alphabet ? add_text : add_numbers)(s, prompt));
    if (!s->window->len) g_array_append_val(s->window, first);
    EAB_TRY(eab_decoder_open(device, &s->saved.config, &s->decoder));
    s->weights = g_new(double, s->vocab);
    const eab_model *model = &s->decoder.model;
    int status = eab_saved_model_read(&s->saved, &model->parameters, device, model->weights.data);
    if (!status) status = generate(s);
    eab_decoder_close(&s->decoder);
    g_free(s->weights);
    return status;
}

static int sample(const arguments *a) {
    enum { SAMPLE_STREAM = 0x73616D70 }; /* no stream of training */
    sampler s = {.options = a, .random = eab_random_at((uint32_t)a->seed, SAMPLE_STREAM, 0, 0, 0)};
    eab_device *device;
    EAB_TRY(check(a));
    EAB_TRY(eab_saved_model_open(a->models[0], &s.saved));
    s.window = g_array_new(FALSE, FALSE, sizeof(int32_t));
    int status = eab_device_open("cpu", 0, &device);
    if (!status) {
        status = sample_on(device, &s);
        eab_device_close(device);
    }
    g_array_unref(s.window);
    eab_saved_model_close(&s.saved);
    return status;
}

int eab_command_sample(int argc, char **argv) {
    arguments a = {.tokens = DEFAULT_TOKENS, .temperature = 1, .seed = 1};
    int code = parse(&a, argc, argv);
    if (code < 0) {
        const int status = sample(&a);
        code = status ? eab_command_error("sample", status) : EAB_EXIT_DONE;
    }
    g_strfreev(a.models);
    g_free(a.prompt);
    return code;
}
