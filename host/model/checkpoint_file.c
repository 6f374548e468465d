#include "checkpoint_file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/version.h"
#include "kernels/status.h"

enum { BLOCK_BYTES = 1 << 16, LANES = 4 };

/* What every checkpoint begins with. byte_order reads as the same number on machines with the same byte order. */
typedef struct {
    char magic[8];
    uint32_t byte_order, format;
    char build[96]; /* version and commit: another build may train differently */
} preamble;

static preamble our_preamble(void) {
    preamble own = {.magic = "EABCKPT", .byte_order = 0x01020304, .format = EAB_CHECKPOINT_FORMAT};
    snprintf(own.build, sizeof own.build, "%s %s", eab_build_version(), eab_build_commit());
    return own;
}

/* ---- checksum ------------------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t state, uint64_t word) {
    const uint64_t joined = state ^ word;
    return (joined << 29 | joined >> 35) * UINT64_C(0x9E3779B97F4A7C15); /* odd: one-to-one */
}

void eab_checksum_begin(eab_checksum *sum) { *sum = (eab_checksum){{1, 2, 3, 4}, 0}; }

void eab_checksum_add(eab_checksum *sum, const void *bytes, size_t size) {
    const char *at = bytes;
    uint64_t words[LANES];
    sum->bytes += size;
    for (; size >= sizeof words; size -= sizeof words, at += sizeof words) {
        memcpy(words, at, sizeof words);
        for (int i = 0; i < LANES; i++) sum->lane[i] = mix(sum->lane[i], words[i]);
    }
    if (!size) return;
    memset(words, 0, sizeof words);
    memcpy(words, at, size);
    for (int i = 0; i < LANES; i++) sum->lane[i] = mix(sum->lane[i], words[i]);
}

uint64_t eab_checksum_end(const eab_checksum *sum) {
    uint64_t all = sum->bytes;
    for (int i = 0; i < LANES; i++) all = mix(all, sum->lane[i]);
    return all ^ all >> 32;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

struct eab_checkpoint_writer {
    eab_replacement file;
    bool open;
    eab_checksum sum;
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
    eab_checkpoint_writer *writer = malloc(sizeof *writer);
    *created = NULL;
    if (!writer) return eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    writer->used = 0;
    eab_checksum_begin(&writer->sum);
    int status = make_folder(path);
    if (!status) status = eab_replace_begin(path, &writer->file);
    writer->open = !status;
    *created = writer;
    if (status) return status;
    const preamble own = our_preamble();
    return eab_checkpoint_put(writer, &own, sizeof own);
}

static int write_block(eab_checkpoint_writer *writer) {
    eab_checksum_add(&writer->sum, writer->block, writer->used);
    const int status = eab_replace_write(&writer->file, writer->block, writer->used);
    writer->used = 0;
    if (status) writer->open = false;
    return status;
}

int eab_checkpoint_put(eab_checkpoint_writer *writer, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size) {
        const size_t room = BLOCK_BYTES - writer->used, part = size < room ? size : room;
        memcpy(writer->block + writer->used, at, part);
        writer->used += part;
        at += part;
        size -= part;
        if (writer->used == BLOCK_BYTES) EAB_TRY(write_block(writer));
    }
    return EAB_OK;
}

int eab_checkpoint_commit(eab_checkpoint_writer *writer) {
    int status = writer->used ? write_block(writer) : EAB_OK;
    const uint64_t sum = eab_checksum_end(&writer->sum);
    if (!status) {
        status = eab_replace_write(&writer->file, &sum, sizeof sum);
        if (!status) status = eab_replace_commit(&writer->file, true);
        writer->open = false; /* either way */
    }
    free(writer);
    return status;
}

void eab_checkpoint_abandon(eab_checkpoint_writer *writer) {
    if (!writer) return;
    if (writer->open) eab_replace_abandon(&writer->file);
    free(writer);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct eab_checkpoint_reader {
    FILE *file;
    char *path;
    int64_t bytes, left; /* of data: everything between the preamble and the checksum; not yet read */
};

int eab_checkpoint_refuse(const eab_checkpoint_reader *reader, const char *what) {
    return eab_fail(EAB_BAD_INPUT, "%s: %s", reader->path, what);
}

static int read_bytes(eab_checkpoint_reader *reader, void *bytes, size_t size) {
    if (fread(bytes, 1, size, reader->file) == size) return EAB_OK;
    return eab_checkpoint_refuse(reader, ferror(reader->file) ? strerror(errno) : "cut off");
}

int eab_checkpoint_get(eab_checkpoint_reader *reader, void *bytes, size_t size) {
    if ((int64_t)size > reader->left) return eab_checkpoint_refuse(reader, "cut off");
    reader->left -= (int64_t)size;
    return read_bytes(reader, bytes, size);
}

int64_t eab_checkpoint_left(const eab_checkpoint_reader *reader) { return reader->left; }

static int read_preamble(eab_checkpoint_reader *reader) {
    const preamble own = our_preamble();
    preamble found;
    struct stat facts;
    if (fstat(fileno(reader->file), &facts)) return eab_checkpoint_refuse(reader, strerror(errno));
    if (!S_ISREG(facts.st_mode)) return eab_checkpoint_refuse(reader, "not a regular file");
    reader->bytes = reader->left = (int64_t)facts.st_size - (int64_t)(sizeof found + sizeof(uint64_t));
    if (reader->bytes < 0) return eab_checkpoint_refuse(reader, "cut off");
    EAB_TRY(read_bytes(reader, &found, sizeof found));
    if (memcmp(found.magic, own.magic, sizeof own.magic) != 0)
        return eab_checkpoint_refuse(reader, "not a checkpoint of eabench");
    if (found.byte_order != own.byte_order)
        return eab_checkpoint_refuse(reader, "from a machine with another order of bytes");
    if (found.format != own.format)
        return eab_fail(EAB_BAD_INPUT, "%s: format %u, this program reads %u", reader->path, found.format, own.format);
    if (memcmp(found.build, own.build, sizeof own.build) != 0)
        return eab_checkpoint_refuse(reader, "from another build of eabench");
    return EAB_OK;
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
    const int status = read_preamble(reader);
    if (status) eab_checkpoint_close(reader);
    else *opened = reader;
    return status;
}

int eab_checkpoint_verify(eab_checkpoint_reader *reader) {
    eab_checksum sum;
    uint64_t written;
    char block[BLOCK_BYTES];
    eab_checksum_begin(&sum);
    rewind(reader->file);
    for (int64_t left = (int64_t)sizeof(preamble) + reader->bytes; left;) {
        const size_t size = (size_t)MIN(left, BLOCK_BYTES);
        EAB_TRY(read_bytes(reader, block, size));
        eab_checksum_add(&sum, block, size);
        left -= (int64_t)size;
    }
    EAB_TRY(read_bytes(reader, &written, sizeof written));
    if (written != eab_checksum_end(&sum)) return eab_checkpoint_refuse(reader, "damaged: its checksum is another");
    if (fseek(reader->file, sizeof(preamble), SEEK_SET)) return eab_checkpoint_refuse(reader, strerror(errno));
    reader->left = reader->bytes;
    return EAB_OK;
}

void eab_checkpoint_close(eab_checkpoint_reader *reader) {
    if (!reader) return;
    fclose(reader->file);
    g_free(reader->path);
    g_free(reader);
}
