#include "safetensors.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/json.h"
#include "spec/cell_task.h"
#include "spec/options.h"

_Static_assert(G_BYTE_ORDER == G_LITTLE_ENDIAN, "safetensors files hold little-endian numbers");

/* The code points, or bytes, of the tokens in order: hexadecimal, with blanks between. */
static void append_alphabet(GString *json, const eab_level *level) {
    const eab_text_tokens *tokens = eab_text_of(level);
    GString *alphabet = g_string_new(NULL);
    for (int32_t i = 0; i < tokens->vocab; i++)
        g_string_append_printf(alphabet, "%s%x", i ? " " : "", tokens->symbols[i]);
    eab_json_text(json, "unit", level->option[EAB_TEXT_UNIT] == EAB_TEXT_BYTES ? "byte" : "char");
    eab_json_text(json, "alphabet", alphabet->str);
    g_string_free(alphabet, TRUE);
}

static void append_metadata(GString *json, const eab_config *config) {
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
    if (config->level.text) append_alphabet(json, &config->level);
    eab_json_end(json, '}');
}

static int64_t word_bytes(const char *dtype) { return strcmp(dtype, "F64") == 0 ? 8 : 4; }

static int64_t tensor_bytes(const eab_safetensor *tensor) {
    int64_t bytes = word_bytes(tensor->dtype);
    for (int32_t i = 0; i < tensor->rank; i++) bytes *= tensor->shape[i];
    return bytes;
}

/* The tensor's bytes begin at *offset of the data, which moves on to their end. */
static void append_tensor(GString *json, const eab_safetensor *tensor, int64_t *offset) {
    eab_json_begin(json, tensor->name, '{');
    eab_json_text(json, "dtype", tensor->dtype);
    eab_json_begin(json, "shape", '[');
    for (int32_t i = 0; i < tensor->rank; i++) eab_json_count(json, NULL, tensor->shape[i]);
    eab_json_end(json, ']');
    eab_json_begin(json, "data_offsets", '[');
    eab_json_count(json, NULL, *offset);
    *offset += tensor_bytes(tensor);
    eab_json_count(json, NULL, *offset);
    eab_json_end(json, ']');
    eab_json_end(json, '}');
}

static GString *make_header(const eab_config *config, const eab_safetensor *tensors, int32_t count) {
    GString *json = g_string_new("{");
    int64_t offset = 0;
    append_metadata(json, config);
    for (int32_t i = 0; i < count; i++) append_tensor(json, &tensors[i], &offset);
    eab_json_end(json, '}');
    while (json->len % 8) g_string_append_c(json, ' '); /* aligns the tensors in a mapped file */
    const uint64_t length = json->len;
    return g_string_prepend_len(json, (const char *)&length, sizeof length);
}

/* Begins the file with its header; the tensors' words follow. */
static int begin(const char *path, const eab_config *config, const eab_safetensor *tensors, int32_t count,
                 eab_replacement *file) {
    EAB_TRY(eab_replace_begin(path, file));
    GString *header = make_header(config, tensors, count);
    const int status = eab_replace_write(file, header->str, header->len);
    g_string_free(header, TRUE);
    return status;
}

int eab_safetensors_write(const char *path, const eab_config *config, const eab_safetensor *tensors, int32_t count) {
    eab_replacement file;
    EAB_TRY(begin(path, config, tensors, count, &file));
    for (int32_t i = 0; i < count; i++)
        EAB_TRY(eab_replace_write(&file, tensors[i].words, (size_t)tensor_bytes(&tensors[i])));
    return eab_replace_commit(&file, false);
}

/* The parameter as a tensor, without the padding of its vocabulary. */
static eab_safetensor describe(const eab_parameter *parameter, int32_t vocab, const char *dtype) {
    const int32_t rows = parameter->vocab_rows ? vocab : parameter->rows;
    const int32_t columns = parameter->vocab_columns ? vocab : parameter->columns;
    const bool is_vector = parameter->kind == EAB_PARAMETER_GAIN || parameter->kind == EAB_PARAMETER_BIAS;
    if (is_vector) return (eab_safetensor){parameter->name, dtype, 1, {columns}, NULL};
    return (eab_safetensor){parameter->name, dtype, 2, {rows, columns}, NULL};
}

GString *eab_safetensors_list(const eab_config *config, const eab_parameters *parameters, const char *dtype,
                              int64_t *bytes) {
    GString *json = g_string_new("}"); /* of the metadata: a comma follows */
    *bytes = 0;
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_safetensor tensor = describe(&parameters->list[i], eab_config_vocab(config), dtype);
        append_tensor(json, &tensor, bytes);
    }
    eab_json_end(json, '}');
    return g_string_erase(json, 0, 1);
}

/* Replaces the values [parameter->rows][parameter->columns] by the tensor's words, in place: a word is never larger
 * than its value, and never lies behind it. */
static void pack(const eab_safetensor *tensor, const eab_parameter *parameter, double *values) {
    const size_t word = (size_t)word_bytes(tensor->dtype);
    const int64_t columns = tensor->shape[tensor->rank - 1], rows = tensor->rank == 2 ? tensor->shape[0] : 1;
    char *words = (char *)values;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column++, words += word) {
            const double exact = values[row * parameter->columns + column];
            const float rounded = (float)exact;
            memcpy(words, word == sizeof exact ? (const void *)&exact : (const void *)&rounded, word);
        }
}

/* values: [largest parameter], scratch. After an error the file is abandoned. */
static int write_parameters(eab_device *device, const void *from, const eab_parameters *parameters,
                            const eab_safetensor *tensors, double *values, eab_replacement *file) {
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        const char *first = (const char *)from + parameter->offset * (int64_t)device->backend->real_bytes;
        const int64_t count = (int64_t)parameter->rows * parameter->columns;
        const int status = device->backend->read_reals(device, values, first, count);
        if (status) eab_replace_abandon(file);
        if (status) return status;
        pack(&tensors[i], parameter, values);
        EAB_TRY(eab_replace_write(file, values, (size_t)tensor_bytes(&tensors[i])));
    }
    return eab_replace_commit(file, false);
}

int eab_safetensors_write_model(const char *path, const eab_config *config, const eab_parameters *parameters,
                                const char *dtype, eab_device *device, const void *from) {
    const int32_t vocab = eab_config_vocab(config);
    int64_t largest = 1;
    eab_replacement file;
    eab_safetensor *tensors = g_new(eab_safetensor, parameters->length);
    for (int32_t i = 0; i < parameters->length; i++) {
        tensors[i] = describe(&parameters->list[i], vocab, dtype);
        largest = MAX(largest, (int64_t)parameters->list[i].rows * parameters->list[i].columns);
    }
    double *values = malloc((size_t)largest * sizeof *values);
    int status = values ? begin(path, config, tensors, parameters->length, &file)
                        : eab_fail(EAB_NO_MEMORY, "no memory to save a model");
    if (!status) status = write_parameters(device, from, parameters, tensors, values, &file);
    free(values);
    g_free(tensors);
    return status;
}
