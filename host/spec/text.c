#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/suggest.h"

enum { CODE_POINTS = 0x110000, DIGEST_LENGTH = 64 };
static const char DIGEST_MARK[] = " sha256:";

static int refuse(const char *where, const char *problem) {
    return eab_fail(EAB_BAD_INPUT, "%s: %s; allowed: a readable regular file of 1..%d bytes", where, problem,
                    EAB_TEXT_MAX_BYTES);
}

/* ---- the option's text ----------------------------------------------------------------------------------------- */

/* The manifest must read back: its values are separated by commas, and a comment begins behind white space. */
static bool is_printable(const char *path) {
    if (!g_utf8_validate(path, -1, NULL) || strstr(path, " #") || strstr(path, " ;") || strchr(path, ',')) return false;
    for (; *path; path++)
        if (g_ascii_iscntrl(*path)) return false;
    return true;
}

static int read_item(char *item, const char *where, eab_text *text) {
    char *mark = g_strrstr(item, DIGEST_MARK);
    if (mark) {
        const char *digest = mark + strlen(DIGEST_MARK);
        if (strlen(digest) != DIGEST_LENGTH || strspn(digest, "0123456789abcdef") != DIGEST_LENGTH)
            return eab_fail(EAB_BAD_INPUT, "%s: no digest behind sha256:; allowed: 64 digits 0..9, a..f", where);
        g_strlcpy(text->sha256, digest, sizeof text->sha256);
        *mark = '\0';
    }
    g_strchomp(item);
    if (!*item) return eab_fail(EAB_BAD_INPUT, "%s: no file; allowed: file = PATH", where);
    char *name = g_path_get_basename(item);
    eab_excerpt(name, sizeof text->shown - 8, text->shown, sizeof text->shown);
    g_free(name);
    text->path = g_canonicalize_filename(item, NULL);
    if (is_printable(text->path)) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT,
                    "%s: the file's path cannot be written into a manifest; allowed: UTF-8 without commas, control "
                    "characters, and # or ; behind a blank, from the root on",
                    where);
}

int eab_text_parse(const char *list, const char *where, GPtrArray *texts) {
    char **items = g_strsplit(list, ",", -1);
    int status = *items ? EAB_OK : eab_fail(EAB_BAD_INPUT, "%s: no file; allowed: file = PATH", where);
    for (char **item = items; *item && !status; item++) {
        eab_text *text = g_new0(eab_text, 1);
        g_ptr_array_add(texts, text);
        status = read_item(g_strstrip(*item), where, text);
    }
    g_strfreev(items);
    return status;
}

char *eab_text_print(const eab_text *text) { return g_strconcat(text->path, DIGEST_MARK, text->sha256, NULL); }

void eab_text_free(void *pointer) {
    eab_text *text = pointer;
    for (int unit = 0; unit < EAB_TEXT_UNITS; unit++) {
        g_free((void *)text->unit[unit].tokens);
        g_free((void *)text->unit[unit].symbols);
    }
    g_free(text->path);
    g_free(text);
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *bytes;
    size_t size;
    bool by_byte;
} text_source;

static uint32_t next_symbol(const text_source *source, size_t *at) {
    if (source->by_byte) return (unsigned char)source->bytes[(*at)++];
    const uint32_t symbol = g_utf8_get_char(source->bytes + *at);
    *at = (size_t)(g_utf8_next_char(source->bytes + *at) - source->bytes);
    return symbol;
}

/* Numbers the symbols that occur, in ascending order: counts[symbol] becomes its token. */
static void list_symbols(uint32_t *counts, eab_text_tokens *tokens) {
    GArray *symbols = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    for (uint32_t symbol = 0; symbol < CODE_POINTS; symbol++) {
        if (!counts[symbol]) continue;
        tokens->most_frequent = MAX(tokens->most_frequent, (int64_t)counts[symbol]);
        counts[symbol] = symbols->len;
        g_array_append_val(symbols, symbol);
    }
    tokens->vocab = (int32_t)symbols->len;
    tokens->symbols = (uint32_t *)(void *)g_array_free(symbols, FALSE);
}

/* Leaves no tokens if there are more symbols than a vocabulary may have. counts: [CODE_POINTS], scratch. */
static int make_tokens(const text_source *source, uint32_t *counts, eab_text_tokens *tokens) {
    memset(counts, 0, CODE_POINTS * sizeof *counts);
    for (size_t at = 0; at < source->size; tokens->count++) counts[next_symbol(source, &at)]++;
    list_symbols(counts, tokens);
    if (tokens->vocab > EAB_TEXT_MAX_VOCAB) return EAB_OK;
    uint16_t *token = g_try_new(uint16_t, (gsize)tokens->count);
    if (!token) return eab_fail(EAB_NO_MEMORY, "no memory for a text of %lld tokens", (long long)tokens->count);
    tokens->tokens = token;
    for (size_t at = 0; at < source->size;) *token++ = (uint16_t)counts[next_symbol(source, &at)];
    return EAB_OK;
}

static int make_units(const char *bytes, size_t size, eab_text *text) {
    const char *end;
    uint32_t *counts = g_try_new(uint32_t, CODE_POINTS);
    if (!counts) return eab_fail(EAB_NO_MEMORY, "no memory for the symbols of a text");
    const bool valid = g_utf8_validate_len(bytes, size, &end);
    text->unit[EAB_TEXT_BYTES].invalid_at = -1;
    text->unit[EAB_TEXT_CHARACTERS].invalid_at = valid ? -1 : end - bytes;
    int status = make_tokens(&(text_source){bytes, size, true}, counts, &text->unit[EAB_TEXT_BYTES]);
    if (!status && valid)
        status = make_tokens(&(text_source){bytes, size, false}, counts, &text->unit[EAB_TEXT_CHARACTERS]);
    g_free(counts);
    return status;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* Checked against the path's bound while it is read, as a file may grow or hide its size. */
static int read_bytes(int file, const char *where, GByteArray *bytes) {
    enum { PIECE = 1 << 16 };
    struct stat facts;
    if (fstat(file, &facts)) return refuse(where, g_strerror(errno));
    if (S_ISDIR(facts.st_mode)) return refuse(where, "a directory");
    if (!S_ISREG(facts.st_mode)) return refuse(where, "not a regular file");
    for (;;) {
        const guint size = bytes->len;
        if (facts.st_size > EAB_TEXT_MAX_BYTES || size > EAB_TEXT_MAX_BYTES) return refuse(where, "larger");
        g_byte_array_set_size(bytes, size + PIECE);
        const ssize_t got = read(file, bytes->data + size, PIECE);
        g_byte_array_set_size(bytes, size + (got > 0 ? (guint)got : 0));
        if (got < 0 && errno != EINTR) return refuse(where, g_strerror(errno));
        if (got == 0) return size ? EAB_OK : refuse(where, "empty");
    }
}

static int use_bytes(const GByteArray *bytes, const char *where, eab_text *text) {
    char *digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, bytes->data, bytes->len);
    int status = EAB_OK;
    if (*text->sha256 && strcmp(digest, text->sha256) != 0)
        status = eab_fail(EAB_BAD_INPUT,
                          "%s: the file has changed: its digest is sha256:%s; allowed: the file as it was, or another "
                          "--out without a digest",
                          where, digest);
    else g_strlcpy(text->sha256, digest, sizeof text->sha256);
    g_free(digest);
    return status ? status : make_units((const char *)bytes->data, bytes->len, text);
}

int eab_text_load(eab_text *text, const char *where) {
    if (text->unit[EAB_TEXT_BYTES].tokens) return EAB_OK;
    const int file = open(text->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* waits for no writer of a FIFO */
    if (file < 0) return refuse(where, g_strerror(errno));
    GByteArray *bytes = g_byte_array_new();
    int status = read_bytes(file, where, bytes);
    close(file);
    if (!status) status = use_bytes(bytes, where, text);
    g_byte_array_unref(bytes);
    return status;
}

void eab_text_stand_in(eab_text *text) {
    const eab_text_tokens tokens = {.count = EAB_TEXT_MAX_BYTES, .vocab = 2, .most_frequent = 1, .invalid_at = -1};
    for (int unit = 0; unit < EAB_TEXT_UNITS; unit++) text->unit[unit] = tokens;
}

/* ---- losses ---------------------------------------------------------------------------------------------------- */

static double bits_per(const eab_level *level, double loss_nats, int unit) {
    const eab_text_tokens *tokens = eab_text_of(level), *other = &level->text->unit[unit];
    return other->count ? loss_nats / M_LN2 * (double)tokens->count / (double)other->count : NAN;
}

double eab_text_bits_per_character(const eab_level *level, double loss_nats) {
    return bits_per(level, loss_nats, EAB_TEXT_CHARACTERS);
}

double eab_text_bits_per_byte(const eab_level *level, double loss_nats) {
    return bits_per(level, loss_nats, EAB_TEXT_BYTES);
}
