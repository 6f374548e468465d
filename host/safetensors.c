#include "safetensors.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "../tasks/task.h"
#include "options.h"

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
    char text[128];
    g_string_append(json, "\"__metadata__\":{");
    append_pair(json, "format", "pt");
    append_pair(json, "task", eab_task_at(config->level.family)->name);
    eab_level_name(&config->level, text, sizeof text);
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

int eab_safetensors_write(const char *path, const eab_parameters *parameters, const eab_config *config,
                          const double *values) {
    const int32_t vocab = eab_task_at(config->level.family)->vocab(&config->level);
    GString *file = g_string_new("{");
    GByteArray *data = g_byte_array_new();
    append_metadata(file, config);
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        const int32_t rows = own_rows(parameter, vocab), columns = own_columns(parameter, vocab);
        const guint begin = data->len;
        for (int32_t row = 0; row < rows; row++)
            for (int32_t column = 0; column < columns; column++) {
                const float value = (float)values[parameter->offset + (int64_t)row * parameter->columns + column];
                uint32_t bits;
                memcpy(&bits, &value, sizeof bits);
                bits = GUINT32_TO_LE(bits);
                g_byte_array_append(data, (const guint8 *)&bits, sizeof bits);
            }
        g_string_append_printf(file, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", parameter->name);
        if (parameter->kind == EAB_PARAMETER_GAIN || parameter->kind == EAB_PARAMETER_BIAS)
            g_string_append_printf(file, "%d", columns);
        else g_string_append_printf(file, "%d,%d", rows, columns);
        g_string_append_printf(file, "],\"data_offsets\":[%u,%u]}", begin, data->len);
    }
    g_string_append_c(file, '}');
    while (file->len % 8) g_string_append_c(file, ' '); /* so that the tensors are aligned in a mapped file */
    const guint64 header = GUINT64_TO_LE((guint64)file->len);
    g_string_prepend_len(file, (const char *)&header, sizeof header);
    g_string_append_len(file, (const char *)data->data, data->len);
    GError *error = NULL;
    int status = EAB_OK;
    if (!g_file_set_contents(path, file->str, (gssize)file->len, &error))
        status = eab_fail(EAB_IO, "cannot save the model: %s", error->message);
    g_clear_error(&error);
    g_byte_array_free(data, TRUE);
    g_string_free(file, TRUE);
    return status;
}
