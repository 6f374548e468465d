/* The reader of saved models: any bytes are a model with a config that can be trained, or are refused with one line. */
#include <stdint.h>

#include "../../host/model/safetensors.h"
#include "../../host/spec/cell_task.h"
#include "fuzz.h"

static fuzz_file file;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    fuzz_file_open(&file);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    eab_saved_model saved;
    fuzz_file_set(&file, data, size);
    const int status = eab_saved_model_open(file.path, &saved);
    if (status) fuzz_expect_refusal(status);
    else fuzz_expect(eab_config_vocab(&saved.config) > 0, "a vocabulary");
    eab_saved_model_close(&saved);
    return 0;
}
