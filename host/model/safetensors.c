#include "safetensors.h"

#include <glib.h>
#include <string.h>

#include "base/replace.h"
#include "spec/cell_task.h"
#include "spec/options.h"

static void append_string(GString *json, const char *text) {
    g_string_append_c(json, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') g_string_append_c(json, '\\');
        if ((unsigned char)*text >= 0x20) g_string_append_c(json, *text);
    }
    g_string_append_c(json, '"');
}

static void append_pair(GString *json, const char *key, const char *value) {
    if (json->str[json->len - 1] != '{') g_string_append_c(json, ',');
    append_string(json, key);
    g_string_append_c(json, ':');
    append_string(json, value);
}

static void append_metadata(GString *json, const eab_config *config) {
    char text[EAB_LEVEL_NAME_SIZE];
    g_string_append(json, "\"__metadata__\":{");
    append_pair(json, "format", "pt");
    append_pair(json, "task", eab_config_task_name(config));
    eab_config_level_name(config, text, sizeof text);
    append_pair(json, "level", text);
    for (int i = 0; i < eab_option_count; i++) {
        eab_option_print(&eab_options[i], config, text, sizeof text);
        append_pair(json, eab_options[i].key, text);
    }
    g_string_append_c(json, '}');
}

static int32_t own_rows(const eab_parameter *parameter, int32_t vocab) {
    return parameter->vocab_rows ? vocab : parameter->rows;
}

static int32_t own_columns(const eab_parameter *parameter, int32_t vocab) {
    return parameter->vocab_columns ? vocab : parameter->columns;
}

/* A number of 4 or 8 bytes, in the machine's order. */
static void append_word(GByteArray *data, const void *word, size_t bytes) {
    guint64 wide;
    guint32 narrow;
    memcpy(bytes == sizeof wide ? (void *)&wide : (void *)&narrow, word, bytes);
    if (bytes == sizeof wide) wide = GUINT64_TO_LE(wide);
    else narrow = GUINT32_TO_LE(narrow);
    g_byte_array_append(data, bytes == sizeof wide ? (const guint8 *)&wide : (const guint8 *)&narrow, (guint)bytes);
}

/* A tensor whose bytes are those of `data` from `begin` on. */
static void append_tensor(GString *json, const char *name, const char *dtype, int32_t rank, const int64_t *shape,
                          guint begin, const GByteArray *data) {
    g_string_append_printf(json, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype);
    for (int32_t i = 0; i < rank; i++) g_string_append_printf(json, "%s%lld", i ? "," : "", (long long)shape[i]);
    g_string_append_printf(json, "],\"data_offsets\":[%u,%u]}", begin, data->len);
}

/* Closes the header in `file`, which becomes the whole file. */
static int write_file(const char *path, GString *file, const GByteArray *data) {
    eab_replacement replacement;
    g_string_append_c(file, '}');
    while (file->len % 8) g_string_append_c(file, ' '); /* so that the tensors are aligned in a mapped file */
    const guint64 header = GUINT64_TO_LE((guint64)file->len);
    g_string_prepend_len(file, (const char *)&header, sizeof header);
    EAB_TRY(eab_replace_begin(path, &replacement));
    EAB_TRY(eab_replace_write(&replacement, file->str, file->len));
    EAB_TRY(eab_replace_write(&replacement, data->data, data->len));
    return eab_replace_commit_unsynced(&replacement);
}

int eab_safetensors_write(const char *path, const eab_parameters *parameters, const eab_config *config,
                          eab_stored stored, const double *values) {
    const int32_t vocab = eab_config_vocab(config);
    GString *file = g_string_new("{");
    GByteArray *data = g_byte_array_new();
    append_metadata(file, config);
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        const int32_t rows = own_rows(parameter, vocab), columns = own_columns(parameter, vocab);
        const int64_t shape[] = {rows, columns};
        const bool is_vector = parameter->kind == EAB_PARAMETER_GAIN || parameter->kind == EAB_PARAMETER_BIAS;
        const guint begin = data->len;
        for (int32_t row = 0; row < rows; row++)
            for (int32_t column = 0; column < columns; column++) {
                const double exact = values[parameter->offset + (int64_t)row * parameter->columns + column];
                const float rounded = (float)exact;
                if (stored == EAB_STORED_FLOAT64) append_word(data, &exact, sizeof exact);
                else append_word(data, &rounded, sizeof rounded);
            }
        append_tensor(file, parameter->name, stored == EAB_STORED_FLOAT64 ? "F64" : "F32", is_vector ? 1 : 2,
                      is_vector ? shape + 1 : shape, begin, data);
    }
    const int status = write_file(path, file, data);
    g_byte_array_free(data, TRUE);
    g_string_free(file, TRUE);
    return status;
}

int eab_safetensors_write_tensors(const char *path, const eab_config *config, const eab_safetensor *tensors,
                                  int32_t count) {
    GString *file = g_string_new("{");
    GByteArray *data = g_byte_array_new();
    append_metadata(file, config);
    for (int32_t i = 0; i < count; i++) {
        const eab_safetensor *tensor = &tensors[i];
        const guint begin = data->len;
        int64_t length = 1;
        for (int32_t j = 0; j < tensor->rank; j++) length *= tensor->shape[j];
        const size_t bytes = strcmp(tensor->dtype, "F64") == 0 ? 8 : 4;
        for (int64_t j = 0; j < length; j++) append_word(data, (const char *)tensor->words + j * (int64_t)bytes, bytes);
        append_tensor(file, tensor->name, tensor->dtype, tensor->rank, tensor->shape, begin, data);
    }
    const int status = write_file(path, file, data);
    g_byte_array_free(data, TRUE);
    g_string_free(file, TRUE);
    return status;
}
