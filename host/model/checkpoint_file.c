#include "checkpoint_file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/version.h"
#include "kernels/status.h"

enum { BLOCK_BYTES = 1 << 16 };

typedef struct {
    char magic[8];
    uint32_t format;
    char build[100]; /* version and commit: another build may train differently */
} preamble;

typedef struct {
    int64_t file_bytes; /* this end included */
    uint64_t sum;       /* of everything before this end */
} ending;

static preamble our_preamble(void) {
    preamble own = {.magic = "EABCKPT", .format = EAB_CHECKPOINT_FORMAT};
    snprintf(own.build, sizeof own.build, "%s %s", eab_build_version(), eab_build_commit());
    return own;
}

/* One-to-one in `sum` and in `word`. */
static uint64_t mix(uint64_t sum, uint64_t word) {
    const uint64_t joined = sum ^ word;
    return (joined << 29 | joined >> 35) * UINT64_C(0x9E3779B97F4A7C15);
}

uint64_t eab_checksum(uint64_t sum, const void *bytes, size_t size) {
    const char *at = bytes;
    uint64_t word;
    for (; size >= sizeof word; size -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = mix(sum, word);
    }
    if (!size) return sum;
    word = 0;
    memcpy(&word, at, size);
    return mix(sum, word);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

struct eab_checkpoint_writer {
    eab_replacement file;
    int64_t bytes; /* written before this block */
    uint64_t sum;  /* of these */
    size_t used;
    char block[BLOCK_BYTES];
};

/* Makes the folder for the first checkpoint. A link is refused, because it leads out of the run. */
static int make_folder(const char *path) {
    char *folder = g_path_get_dirname(path);
    struct stat facts;
    int status = EAB_OK;
    if (mkdir(folder, 0777) && errno != EEXIST)
        status = eab_fail(EAB_IO, "%s: cannot be created: %s", folder, strerror(errno));
    else if (lstat(folder, &facts) || !S_ISDIR(facts.st_mode))
        status = eab_fail(EAB_IO, "%s: not a folder; no checkpoint is kept", folder);
    g_free(folder);
    return status;
}

int eab_checkpoint_create(const char *path, eab_checkpoint_writer **created) {
    const preamble own = our_preamble();
    EAB_TRY(make_folder(path));
    eab_checkpoint_writer *writer = malloc(sizeof *writer);
    if (!writer) return eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    writer->bytes = 0;
    writer->sum = 0;
    writer->used = 0;
    int status = eab_replace_begin(path, &writer->file);
    if (!status) status = eab_checkpoint_put(writer, &own, sizeof own);
    if (status) free(writer);
    else *created = writer;
    return status;
}

static int write_block(eab_checkpoint_writer *writer) {
    const size_t used = writer->used;
    writer->sum = eab_checksum(writer->sum, writer->block, used);
    writer->bytes += (int64_t)used;
    writer->used = 0;
    return eab_replace_write(&writer->file, writer->block, used);
}

int eab_checkpoint_put(eab_checkpoint_writer *writer, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size) {
        const size_t part = MIN(size, BLOCK_BYTES - writer->used);
        memcpy(writer->block + writer->used, at, part);
        writer->used += part;
        at += part;
        size -= part;
        if (writer->used == BLOCK_BYTES) EAB_TRY(write_block(writer));
    }
    return EAB_OK;
}

static int write_ending(eab_checkpoint_writer *writer) {
    EAB_TRY(write_block(writer));
    const ending end = {writer->bytes + (int64_t)sizeof end, writer->sum};
    EAB_TRY(eab_replace_write(&writer->file, &end, sizeof end));
    return eab_replace_commit(&writer->file, true);
}

int eab_checkpoint_end(eab_checkpoint_writer *writer, int status) {
    if (status) eab_replace_abandon(&writer->file);
    else status = write_ending(writer);
    free(writer);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct eab_checkpoint_reader {
    FILE *file;
    char *path;
    ending end;
    int64_t left; /* bytes of data not yet read */
};

int eab_checkpoint_refuse(const eab_checkpoint_reader *reader, const char *what) {
    return eab_fail(EAB_BAD_INPUT, "%s: %s", reader->path, what);
}

static int read_bytes(eab_checkpoint_reader *reader, void *bytes, size_t size) {
    if (fread(bytes, 1, size, reader->file) == size) return EAB_OK;
    return eab_checkpoint_refuse(reader, ferror(reader->file) ? strerror(errno) : "cut off");
}

int64_t eab_checkpoint_left(const eab_checkpoint_reader *reader) { return reader->left; }

int eab_checkpoint_get(eab_checkpoint_reader *reader, void *bytes, size_t size) {
    if ((int64_t)size > reader->left) return eab_checkpoint_refuse(reader, "cut off");
    reader->left -= (int64_t)size;
    return read_bytes(reader, bytes, size);
}

/* Goes to the start of the data. */
static int seek_data(eab_checkpoint_reader *reader) {
    reader->left = reader->end.file_bytes - (int64_t)(sizeof(preamble) + sizeof(ending));
    return fseek(reader->file, sizeof(preamble), SEEK_SET) ? eab_checkpoint_refuse(reader, strerror(errno)) : EAB_OK;
}

static int check_preamble(eab_checkpoint_reader *reader) {
    const preamble own = our_preamble();
    preamble found;
    EAB_TRY(read_bytes(reader, &found, sizeof found));
    if (memcmp(found.magic, own.magic, sizeof own.magic) != 0)
        return eab_checkpoint_refuse(reader, "not a checkpoint of eabench");
    if (found.format != own.format)
        return eab_fail(EAB_BAD_INPUT, "%s: format %u, this program reads %u", reader->path, found.format, own.format);
    if (memcmp(found.build, own.build, sizeof own.build) != 0)
        return eab_checkpoint_refuse(reader, "from another build of eabench");
    return EAB_OK;
}

static int check_size(eab_checkpoint_reader *reader, int64_t file_bytes) {
    if (file_bytes < (int64_t)(sizeof(preamble) + sizeof(ending))) return eab_checkpoint_refuse(reader, "cut off");
    if (fseek(reader->file, -(long)sizeof(ending), SEEK_END)) return eab_checkpoint_refuse(reader, strerror(errno));
    EAB_TRY(read_bytes(reader, &reader->end, sizeof reader->end));
    if (reader->end.file_bytes != file_bytes) return eab_checkpoint_refuse(reader, "cut off, or longer than written");
    return EAB_OK;
}

static int check_file(eab_checkpoint_reader *reader) {
    struct stat facts;
    if (fstat(fileno(reader->file), &facts)) return eab_checkpoint_refuse(reader, strerror(errno));
    if (!S_ISREG(facts.st_mode)) return eab_checkpoint_refuse(reader, "not a regular file");
    EAB_TRY(check_preamble(reader));
    EAB_TRY(check_size(reader, facts.st_size));
    return seek_data(reader);
}

int eab_checkpoint_open(const char *path, eab_checkpoint_reader **opened) {
    *opened = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) return EAB_OK;
    if (fd < 0) return eab_fail(EAB_BAD_INPUT, "%s: %s", path, errno == ELOOP ? "a symbolic link" : strerror(errno));
    FILE *file = fdopen(fd, "rb");
    if (!file) {
        close(fd);
        return eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    }
    eab_checkpoint_reader *reader = g_new0(eab_checkpoint_reader, 1);
    reader->file = file;
    reader->path = g_strdup(path);
    const int status = check_file(reader);
    if (status) eab_checkpoint_close(reader);
    else *opened = reader;
    return status;
}

int eab_checkpoint_verify(eab_checkpoint_reader *reader) {
    char block[BLOCK_BYTES];
    uint64_t sum = 0;
    rewind(reader->file);
    for (int64_t left = reader->end.file_bytes - (int64_t)sizeof(ending); left;) {
        const size_t size = (size_t)MIN(left, BLOCK_BYTES);
        EAB_TRY(read_bytes(reader, block, size));
        sum = eab_checksum(sum, block, size);
        left -= (int64_t)size;
    }
    if (sum != reader->end.sum) return eab_checkpoint_refuse(reader, "damaged: wrong checksum");
    return seek_data(reader);
}

void eab_checkpoint_close(eab_checkpoint_reader *reader) {
    fclose(reader->file);
    g_free(reader->path);
    g_free(reader);
}
