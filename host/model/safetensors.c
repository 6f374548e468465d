#include "safetensors.h"

#include <glib.h>
#include <string.h>

#include "base/json.h"
#include "base/files.h"
#include "spec/cell_task.h"
#include "spec/options.h"

static void add_metadata(GString *json, const eab_config *config) {
    char text[EAB_LEVEL_NAME_SIZE];
    eab_json_begin(json, "__metadata__", '{');
    eab_json_text(json, "format", "pt");
    eab_json_text(json, "task", eab_config_task_name(config));
    eab_config_level_name(config, text, sizeof text);
    eab_json_text(json, "level", text);
    for (int i = 0; i < eab_option_count; i++) {
        eab_option_print(&eab_options[i], config, text, sizeof text);
        eab_json_text(json, eab_options[i].key, text);
    }
    eab_json_end(json, '}');
}

/* Appends the words in little-endian order. */
static void add_words(GByteArray *data, const eab_safetensor *tensor, int64_t count) {
    const size_t bytes = strcmp(tensor->dtype, "F64") == 0 ? 8 : 4;
    const guint begin = data->len;
    g_byte_array_append(data, tensor->words, (guint)(bytes * (size_t)count));
    if (G_BYTE_ORDER == G_LITTLE_ENDIAN) return;
    for (guint8 *word = data->data + begin; word < data->data + data->len; word += bytes)
        for (size_t i = 0; i < bytes / 2; i++) {
            const guint8 byte = word[i];
            word[i] = word[bytes - 1 - i];
            word[bytes - 1 - i] = byte;
        }
}

static void add_tensor(GString *json, GByteArray *data, const eab_safetensor *tensor) {
    const guint begin = data->len;
    int64_t count = 1;
    eab_json_begin(json, tensor->name, '{');
    eab_json_text(json, "dtype", tensor->dtype);
    eab_json_begin(json, "shape", '[');
    for (int32_t i = 0; i < tensor->rank; i++) {
        eab_json_count(json, NULL, tensor->shape[i]);
        count *= tensor->shape[i];
    }
    eab_json_end(json, ']');
    add_words(data, tensor, count);
    eab_json_begin(json, "data_offsets", '[');
    eab_json_count(json, NULL, begin);
    eab_json_count(json, NULL, data->len);
    eab_json_end(json, ']');
    eab_json_end(json, '}');
}

static int write_file(const char *path, const GString *header, const GByteArray *data) {
    eab_replacement replacement;
    const guint64 length = GUINT64_TO_LE((guint64)header->len);
    EAB_TRY(eab_replace_begin(path, &replacement));
    EAB_TRY(eab_replace_write(&replacement, &length, sizeof length));
    EAB_TRY(eab_replace_write(&replacement, header->str, header->len));
    EAB_TRY(eab_replace_write(&replacement, data->data, data->len));
    return eab_replace_commit(&replacement, false);
}

int eab_safetensors_write_tensors(const char *path, const eab_config *config, const eab_safetensor *tensors,
                                  int32_t count) {
    GString *header = g_string_new(NULL);
    GByteArray *data = g_byte_array_new();
    eab_json_begin(header, NULL, '{');
    add_metadata(header, config);
    for (int32_t i = 0; i < count; i++) add_tensor(header, data, &tensors[i]);
    eab_json_end(header, '}');
    while (header->len % 8) g_string_append_c(header, ' '); /* so that the tensors are aligned in a mapped file */
    const int status = write_file(path, header, data);
    g_byte_array_free(data, TRUE);
    g_string_free(header, TRUE);
    return status;
}

/* A parameter without a fleet's padding of the vocabulary: [rows][columns] floats or doubles, for g_free. */
static void *own_words(const eab_parameter *parameter, int32_t rows, int32_t columns, eab_stored stored,
                       const double *values) {
    const gsize count = (gsize)rows * (gsize)columns;
    double *exact = g_new(double, count);
    for (int32_t row = 0; row < rows; row++)
        memcpy(exact + (int64_t)row * columns, values + parameter->offset + (int64_t)row * parameter->columns,
               (size_t)columns * sizeof *exact);
    if (stored == EAB_STORED_FLOAT64) return exact;
    float *rounded = g_new(float, count);
    for (gsize i = 0; i < count; i++) rounded[i] = (float)exact[i];
    g_free(exact);
    return rounded;
}

int eab_safetensors_write(const char *path, const eab_parameters *parameters, const eab_config *config,
                          eab_stored stored, const double *values) {
    const int32_t vocab = eab_config_vocab(config);
    const char *const dtype = stored == EAB_STORED_FLOAT64 ? "F64" : "F32";
    eab_safetensor *tensors = g_new(eab_safetensor, (gsize)parameters->length);
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        const int32_t rows = parameter->vocab_rows ? vocab : parameter->rows;
        const int32_t columns = parameter->vocab_columns ? vocab : parameter->columns;
        const bool is_vector = parameter->kind == EAB_PARAMETER_GAIN || parameter->kind == EAB_PARAMETER_BIAS;
        g_ptr_array_add(words, own_words(parameter, rows, columns, stored, values));
        tensors[i] = (eab_safetensor){
            parameter->name, dtype, is_vector ? 1 : 2, {is_vector ? columns : rows, columns}, words->pdata[i]};
    }
    const int status = eab_safetensors_write_tensors(path, config, tensors, parameters->length);
    g_ptr_array_free(words, TRUE);
    g_free(tensors);
    return status;
}
