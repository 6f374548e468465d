/* Reading the models that --save-models wrote, and nothing else: the metadata give the options, and the rest of the
 * header must be what those options make. So a damaged or foreign file is refused without a reader of any JSON. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/suggest.h"
#include "safetensors.h"
#include "spec/cell_task.h"
#include "spec/options.h"
#include "spec/range.h"
#include "tasks/task.h"

enum { MAX_HEADER = 1 << 20, MAX_VOCAB = 1 << 16 };
static const char BEGIN[] = "{\"__metadata__\":{";
static const char HEAD[] = "\"head.out.weight\":{\"dtype\":\"F32\",\"shape\":[";

static int refuse(const char *path, const char *problem) {
    char shown[160];
    return eab_fail(EAB_BAD_INPUT, "%s: %s; allowed: a model that eabench sweep --save-models wrote",
                    eab_excerpt(path, 120, shown, sizeof shown), problem);
}

/* A string at *c, which moves behind it; NULL: none. g_free */
static char *read_string(const char **c) {
    GString *text = g_string_new(NULL);
    const char *at = *c;
    if (*at++ != '"') return g_string_free(text, TRUE);
    for (; *at && *at != '"'; at++) {
        if (*at == '\\' && !*++at) break;
        g_string_append_c(text, *at);
    }
    if (*at != '"') return g_string_free(text, TRUE);
    *c = at + 1;
    return g_string_free(text, FALSE);
}

/* The metadata by key; *rest: behind them. NULL: the header does not begin with metadata. */
static GHashTable *read_metadata(const char *header, const char **rest) {
    GHashTable *metadata = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (!g_str_has_prefix(header, BEGIN)) g_clear_pointer(&metadata, g_hash_table_destroy);
    for (*rest = header + strlen(BEGIN); metadata && **rest != '}';) {
        char *key = read_string(rest), *value = NULL;
        if (key && **rest == ':' && (++*rest, value = read_string(rest))) g_hash_table_insert(metadata, key, value);
        else {
            g_free(key);
            g_clear_pointer(&metadata, g_hash_table_destroy);
            break;
        }
        if (**rest == ',') ++*rest;
    }
    return metadata;
}

/* Options that the metadata lack are newer than the file and have their default. */
static int read_options(const char *path, GHashTable *metadata, eab_config *config) {
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    int status = EAB_OK;
    for (int i = 0; i < eab_option_count && !status; i++) {
        const char *text = g_hash_table_lookup(metadata, eab_options[i].key);
        g_array_set_size(values, 0);
        eab_option_set(&eab_options[i], config, eab_options[i].default_value);
        if (!text) continue;
        status = eab_range_parse(&eab_options[i], text, eab_options[i].key, values);
        if (!status && values->len != 1) status = eab_fail(EAB_BAD_INPUT, "%s: several values", eab_options[i].key);
        if (!status) eab_option_set(&eab_options[i], config, g_array_index(values, double, 0));
    }
    g_array_unref(values);
    char shown[160];
    return status ? eab_fail_prefix(status, "%s: ", eab_excerpt(path, 120, shown, sizeof shown)) : EAB_OK;
}

/* The model's vocabulary and alphabet, as a text. */
static int read_alphabet(const char *path, GHashTable *metadata, const char *tensors, eab_saved_model *saved) {
    const char *head = strstr(tensors, HEAD), *comma = head ? strchr(head + strlen(HEAD), ',') : NULL;
    const gint64 vocab = comma ? g_ascii_strtoll(comma + 1, NULL, 10) : 0;
    const char *alphabet = g_hash_table_lookup(metadata, "alphabet"), *unit = g_hash_table_lookup(metadata, "unit");
    if (vocab < 1 || vocab > MAX_VOCAB) return refuse(path, "no vocabulary");
    char **symbols = g_strsplit(alphabet ? alphabet : "", " ", -1);
    uint32_t *symbol = g_new(uint32_t, vocab);
    const bool fits = !alphabet || (gint64)g_strv_length(symbols) == vocab;
    for (gint64 i = 0; i < vocab && fits; i++)
        symbol[i] = alphabet ? (uint32_t)g_ascii_strtoull(symbols[i], NULL, 16) : (uint32_t)i;
    g_strfreev(symbols);
    const bool by_byte = unit && strcmp(unit, "byte") == 0;
    const eab_text_tokens tokens = {.symbols = symbol, .vocab = (int32_t)vocab, .invalid_at = -1};
    saved->text = (eab_text){.unit = {tokens, tokens}, .shown = "the model"};
    saved->has_alphabet = alphabet != NULL;
    saved->config.level = eab_level_default(EAB_TASK_TEXT);
    saved->config.level.option[EAB_TEXT_UNIT] = by_byte ? EAB_TEXT_BYTES : EAB_TEXT_CHARACTERS;
    saved->config.level.text = &saved->text;
    for (gint64 i = 0; i < vocab && fits; i++)
        if (saved->has_alphabet && (by_byte ? symbol[i] > 255 : !g_unichar_validate(symbol[i])))
            return refuse(path, "its alphabet has numbers that are no characters");
    return fits ? EAB_OK : refuse(path, "its alphabet does not fit its vocabulary");
}

/* The tensors' part of the header must be that of the options. */
static int check_tensors(const char *path, const char *tensors, const eab_config *config, int64_t bytes) {
    eab_parameters parameters;
    int64_t size;
    EAB_TRY(eab_parameters_layout(config, eab_config_vocab(config), &parameters));
    GString *wanted = eab_safetensors_list(config, &parameters, "F32", &size);
    const size_t length = wanted->len;
    const bool same =
        strncmp(tensors, wanted->str, length) == 0 && strspn(tensors + length, " ") == strlen(tensors + length);
    g_string_free(wanted, TRUE);
    eab_parameters_free(&parameters);
    if (!same) return refuse(path, "its tensors are not those of its options");
    return size == bytes ? EAB_OK : refuse(path, "it is cut off, or has more than its tensors");
}

static int read_header(const char *path, char *header, int64_t data_bytes, eab_saved_model *saved) {
    const char *tensors;
    GHashTable *metadata = read_metadata(header, &tensors);
    if (!metadata) return refuse(path, "no metadata of a model");
    int status = read_options(path, metadata, &saved->config);
    if (!status) status = read_alphabet(path, metadata, tensors, saved);
    if (!status) status = check_tensors(path, tensors + 1, &saved->config, data_bytes);
    g_hash_table_destroy(metadata);
    saved->config.batch = 1;
    saved->config.precision = EAB_PRECISION_FLOAT32;
    return status;
}

static int open_file(const char *path, eab_saved_model *saved) {
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* waits for no writer of a FIFO */
    struct stat facts;
    uint64_t length;
    saved->file = fd < 0 ? NULL : fdopen(fd, "rb");
    if (!saved->file) return refuse(path, g_strerror(errno));
    if (fstat(fd, &facts) || !S_ISREG(facts.st_mode)) return refuse(path, "not a regular file");
    if (fread(&length, sizeof length, 1, saved->file) != 1) return refuse(path, "too short");
    if (length > MAX_HEADER || (int64_t)length > facts.st_size - (int64_t)sizeof length)
        return refuse(path, "no header of a safetensors file");
    char *header = g_malloc0(length + 1);
    int status = fread(header, 1, length, saved->file) == length ? EAB_OK : refuse(path, "too short");
    if (!status) status = read_header(path, header, facts.st_size - (int64_t)(sizeof length + length), saved);
    g_free(header);
    return status;
}

int eab_saved_model_open(const char *path, eab_saved_model *saved) {
    *saved = (eab_saved_model){.file = NULL};
    const int status = open_file(path, saved);
    if (status) eab_saved_model_close(saved);
    return status;
}

int eab_saved_model_read(eab_saved_model *saved, const eab_parameters *parameters, eab_device *device, void *to) {
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        const size_t count = (size_t)parameter->rows * (size_t)parameter->columns;
        float *words = malloc(count * sizeof *words);
        double *values = malloc(count * sizeof *values);
        int status = words && values ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a tensor of %zu", count);
        if (!status && fread(words, sizeof *words, count, saved->file) != count)
            status = eab_fail(EAB_IO, "the model could not be read to its end");
        for (size_t j = 0; j < count && !status; j++) values[j] = words[j];
        if (!status)
            status = device->backend->write_reals(
                device, (char *)to + parameter->offset * (int64_t)device->backend->real_bytes, values, (int64_t)count);
        free(words);
        free(values);
        if (status) return status;
    }
    return EAB_OK;
}

void eab_saved_model_close(eab_saved_model *saved) {
    if (saved->file) fclose(saved->file);
    g_free((void *)saved->text.unit[0].symbols); /* both units share it */
    *saved = (eab_saved_model){.file = NULL};
}
