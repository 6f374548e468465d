/* text: windows of a file; each token is to be predicted from those before it.
 *
 *   unit = char  a token is a code point of the file's UTF-8
 *   unit = byte  a token is a byte
 *
 * The vocabulary is what occurs in the file, in ascending order. The file is cut by share into three parts, in its
 * order: training, validation, held-out. A window lies inside the part of its stream and begins at a uniformly drawn
 * place. All tokens but a window's first are scored, though nothing determines them: no model predicts them all.
 *
 * The tokens belong to the host (host/spec/text.h), and a device reads its own copy of an eab_text. So this family is
 * not in EAB_TASK_LIST: it has no level without a file, and none of the properties that the drawn families share.
 */
#ifndef EAB_TASKS_TEXT_H
#define EAB_TASKS_TEXT_H

#include "draw.h"

enum { EAB_TEXT_UNIT, EAB_TEXT_VALID_PERCENT, EAB_TEXT_TEST_PERCENT };
enum { EAB_TEXT_CHARACTERS, EAB_TEXT_BYTES, EAB_TEXT_UNITS };
enum { EAB_TEXT_MAX_VOCAB = 4096 };

/* A file's tokens in one unit. */
typedef struct {
    const uint16_t *tokens; /* [count] */
    int64_t count;
    const uint32_t *symbols; /* [vocab]: the code point or byte of each token */
    int32_t vocab;           /* at most EAB_TEXT_MAX_VOCAB, or there are no tokens */
    int64_t most_frequent;   /* how often the most frequent token occurs */
    int64_t invalid_at;      /* the first byte that is not UTF-8; -1: none */
} eab_text_tokens;

typedef struct eab_text {
    eab_text_tokens unit[EAB_TEXT_UNITS];
    char shown[64]; /* the file's name for messages */
    char *path;     /* absolute */
    char sha256[65];
} eab_text;

/* The level's tokens, or NULL without a file. */
EAB_HOST_DEVICE static inline const eab_text_tokens *eab_text_of(const eab_level *level) {
    return level->text ? &level->text->unit[level->option[EAB_TEXT_UNIT] == EAB_TEXT_BYTES] : 0;
}

/* The part of a stream: its first token, and how many it has. */
EAB_HOST_DEVICE static inline int64_t eab_text_part(const eab_level *level, uint32_t stream, int64_t *first) {
    const eab_text_tokens *text = eab_text_of(level);
    const int64_t count = text ? text->count : 0;
    const int64_t validation = count * level->option[EAB_TEXT_VALID_PERCENT] / 100;
    const int64_t held_out = count * level->option[EAB_TEXT_TEST_PERCENT] / 100;
    const int64_t training = count - validation - held_out;
    *first = stream == EAB_STREAM_TRAINING ? 0 : stream == EAB_STREAM_VALIDATION ? training : training + validation;
    return stream == EAB_STREAM_TRAINING ? training : stream == EAB_STREAM_VALIDATION ? validation : held_out;
}

/* A part that is shorter than the window, which the family's check refuses, is followed by zeros. */
EAB_HOST_DEVICE static inline void eab_text_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                     int32_t length, int32_t *tokens, uint8_t *determined) {
    const eab_text_tokens *text = eab_text_of(level);
    int64_t first;
    const int64_t size = eab_text_part(level, stream, &first);
    const uint64_t places = size > length ? (uint64_t)(size - length) + 1 : 1;
    /* The high half of a product with 64 random bits; places is below 2^32. */
    const uint64_t high = eab_random_word(random) * places, low = eab_random_word(random) * places;
    const int64_t start = (int64_t)((high + (low >> 32)) >> 32);
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = start + t < size ? text->tokens[first + start + t] : 0;
        determined[t] = t > 0;
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static const eab_text_tokens *text_tokens(const eab_level *level) {
    static const eab_text_tokens none = {.invalid_at = -1};
    return level->text ? eab_text_of(level) : &none;
}

static int32_t text_vocab(const eab_level *level) { return text_tokens(level)->vocab; }

/* The number of places where a window can begin. */
static double text_complexity_bits(const eab_level *level, int32_t context) {
    int64_t first;
    return log2(fmax(1, (double)(eab_text_part(level, EAB_STREAM_TRAINING, &first) - context)));
}

/* Of always predicting the file's most frequent token. */
static double text_chance_accuracy(const eab_level *level) {
    const eab_text_tokens *tokens = text_tokens(level);
    return (double)tokens->most_frequent / (double)tokens->count;
}

static bool text_check_symbols(const eab_text *text, const eab_text_tokens *tokens, char *message, size_t size) {
    if (tokens->invalid_at >= 0) {
        snprintf(message, size, "%s: byte %lld is not UTF-8 text; allowed: unit = byte, or a file in UTF-8",
                 text->shown, (long long)tokens->invalid_at + 1);
        return false;
    }
    if (tokens->vocab >= 2 && tokens->vocab <= EAB_TEXT_MAX_VOCAB) return true;
    snprintf(message, size, "%s: a vocabulary of %d; allowed: 2..%d%s", text->shown, tokens->vocab, EAB_TEXT_MAX_VOCAB,
             tokens->vocab > 1 ? ", or unit = byte" : "");
    return false;
}

static bool text_check(const eab_level *level, int32_t context, char *message, size_t size) {
    static const char *const parts[] = {"training", "validation", "held-out"};
    if (!level->text) {
        snprintf(message, size, "no file; allowed: file = PATH");
        return false;
    }
    if (!text_check_symbols(level->text, text_tokens(level), message, size)) return false;
    for (uint32_t stream = EAB_STREAM_TRAINING; stream <= EAB_STREAM_HELD_OUT; stream++) {
        int64_t first;
        const int64_t part = eab_text_part(level, stream, &first);
        if (part > context) continue;
        snprintf(message, size,
                 "%s: the %s part has %lld of %lld tokens, context = %d takes %d; allowed: a longer file, a larger "
                 "share, a smaller context",
                 level->text->shown, parts[stream], (long long)part, (long long)text_tokens(level)->count, context,
                 context + 1);
        return false;
    }
    return true;
}

static bool text_splits(const eab_level *level) {
    (void)level;
    return true;
}

/* Printable ASCII as it is, anything else as an escape. */
static void text_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const uint32_t symbol = text_tokens(level)->symbols[token];
    if (symbol == ' ') snprintf(name, size, "\\s");
    else if (symbol == '\n') snprintf(name, size, "\\n");
    else if (symbol == '\t') snprintf(name, size, "\\t");
    else if (symbol > ' ' && symbol < 127) snprintf(name, size, "%c", (int)symbol);
    else snprintf(name, size, level->option[EAB_TEXT_UNIT] == EAB_TEXT_BYTES ? "\\x%02X" : "U+%04X", symbol);
}

static const char *const text_units[] = {"char", "byte", NULL};

static const eab_task text_task = {
    .name = "text",
    .summary = "windows of a file, each token to be predicted from those before it",
    .options = {{"unit", EAB_TEXT_CHARACTERS, 0, 1, true, "a token: a code point of UTF-8, or a byte", text_units},
                {"valid_percent", 5, 1, 49, false, "share of the file that only validation uses", NULL},
                {"test_percent", 5, 1, 49, false, "share of the file, at its end, for the reported scores", NULL}},
    .option_count = 3,
    .vocab = text_vocab,
    .complexity_bits = text_complexity_bits,
    .chance_accuracy = text_chance_accuracy,
    .check = text_check,
    .splits = text_splits,
    .token_name = text_token_name,
};
#endif

#endif
