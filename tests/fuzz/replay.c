/* Replaces libFuzzer in an ordinary build: runs the target on each file, and on each file of each folder, among the
 * arguments. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fuzz.h"

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return 0;
}

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    size_t size = 0, got = 1;
    if (!file) {
        perror(path);
        return 0;
    }
    while (got) {
        bytes = realloc(bytes, size + 4096);
        fuzz_expect(bytes, "memory");
        got = fread(bytes + size, 1, 4096, file);
        size += got;
    }
    fclose(file);
    printf("%s\n", path); /* after a failure the last line names the input */
    fflush(stdout);
    uint8_t *exact = malloc(size ? size : 1); /* so that the sanitizer sees a read past the end */
    fuzz_expect(exact, "memory");
    for (size_t i = 0; i < size; i++) exact[i] = bytes[i];
    free(bytes);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

static int is_file(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int replay_folder(const char *path) {
    struct dirent **entries;
    const int count = scandir(path, &entries, is_file, alphasort);
    int replayed = 0;
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        replayed += replay_file(name);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return replayed;
}

int main(int argc, char **argv) {
    int replayed = 0;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        struct stat facts;
        if (stat(argv[i], &facts) == 0 && S_ISDIR(facts.st_mode)) replayed += replay_folder(argv[i]);
        else replayed += replay_file(argv[i]);
    }
    printf("%d inputs\n", replayed);
    return replayed ? EXIT_SUCCESS : EXIT_FAILURE;
}
