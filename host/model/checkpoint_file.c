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

enum { BLOCK_BYTES = 1 << 16, LANES = 4 };

/* What every checkpoint begins with. byte_order is the same number on every machine that reads this one's. */
typedef struct {
    char magic[8];
    uint32_t byte_order, format;
    char version[32]; /* of the program: another one may train otherwise */
} preamble;

static preamble our_preamble(void) {
    preamble own = {.magic = "EABCKPT", .byte_order = 0x01020304, .format = EAB_CHECKPOINT_FORMAT};
    snprintf(own.version, sizeof own.version, "%s", eab_build_version());
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

/* The folder is made with the first checkpoint in it. A link would lead out of the run. */
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
    int fd;
    char *path;
    int64_t at, end; /* in the file; end: where the checksum begins */
    size_t used, filled;
    char block[BLOCK_BYTES];
};

static int refuse(const eab_checkpoint_reader *reader, const char *what) {
    return eab_fail(EAB_BAD_INPUT, "%s: %s", reader->path, what);
}

/* Fills the block with what comes next, at least one byte. */
static int fill(eab_checkpoint_reader *reader) {
    const int64_t left = reader->end - reader->at;
    const size_t wanted = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
    reader->used = reader->filled = 0;
    if (!wanted) return refuse(reader, "cut off");
    while (reader->filled < wanted) {
        const ssize_t got = pread(reader->fd, reader->block + reader->filled, wanted - reader->filled,
                                  (off_t)(reader->at + (int64_t)reader->filled));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse(reader, strerror(errno));
        if (got == 0) return refuse(reader, "cut off while it was read");
        reader->filled += (size_t)got;
    }
    reader->at += (int64_t)reader->filled;
    return EAB_OK;
}

int eab_checkpoint_get(eab_checkpoint_reader *reader, void *bytes, size_t size) {
    char *to = bytes;
    while (size) {
        if (reader->used == reader->filled) EAB_TRY(fill(reader));
        const size_t there = reader->filled - reader->used, part = size < there ? size : there;
        memcpy(to, reader->block + reader->used, part);
        reader->used += part;
        to += part;
        size -= part;
    }
    return EAB_OK;
}

int64_t eab_checkpoint_left(const eab_checkpoint_reader *reader) {
    return reader->end - reader->at + (int64_t)(reader->filled - reader->used);
}

int eab_checkpoint_skip(eab_checkpoint_reader *reader, int64_t size) {
    if (size < 0 || size > eab_checkpoint_left(reader)) return refuse(reader, "cut off");
    const int64_t place = reader->at - (int64_t)(reader->filled - reader->used) + size;
    reader->at = place;
    reader->used = reader->filled = 0;
    return EAB_OK;
}

static int read_preamble(eab_checkpoint_reader *reader) {
    const preamble own = our_preamble();
    preamble found;
    struct stat facts;
    if (fstat(reader->fd, &facts)) return refuse(reader, strerror(errno));
    if (!S_ISREG(facts.st_mode)) return refuse(reader, "not a regular file");
    if (facts.st_size < (off_t)(sizeof found + sizeof(uint64_t))) return refuse(reader, "cut off");
    reader->end = facts.st_size - (int64_t)sizeof(uint64_t);
    EAB_TRY(eab_checkpoint_get(reader, &found, sizeof found));
    if (memcmp(found.magic, own.magic, sizeof own.magic) != 0) return refuse(reader, "not a checkpoint of eabench");
    if (found.byte_order != own.byte_order) return refuse(reader, "from a machine with another order of bytes");
    if (found.format != own.format)
        return eab_fail(EAB_BAD_INPUT, "%s: format %u, this program reads %u", reader->path, found.format, own.format);
    if (memcmp(found.version, own.version, sizeof own.version) != 0)
        return refuse(reader, "from another version of eabench");
    return EAB_OK;
}

int eab_checkpoint_open(const char *path, eab_checkpoint_reader **opened) {
    *opened = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) return EAB_OK;
    if (fd < 0) return eab_fail(EAB_BAD_INPUT, "%s: %s", path, errno == ELOOP ? "a symbolic link" : strerror(errno));
    eab_checkpoint_reader *reader = malloc(sizeof *reader);
    char *own_path = strdup(path);
    if (!reader || !own_path) {
        free(reader);
        free(own_path);
        close(fd);
        return eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    }
    reader->fd = fd;
    reader->path = own_path;
    reader->at = 0;
    reader->used = reader->filled = 0;
    const int status = read_preamble(reader);
    if (status) eab_checkpoint_close(reader);
    else *opened = reader;
    return status;
}

int eab_checkpoint_verify(eab_checkpoint_reader *reader, int64_t most_bytes) {
    eab_checksum sum;
    uint64_t written;
    if (reader->end + (int64_t)sizeof written > most_bytes) return refuse(reader, "too large for its cells");
    eab_checksum_begin(&sum);
    reader->at = 0;
    while (reader->at < reader->end) {
        EAB_TRY(fill(reader));
        eab_checksum_add(&sum, reader->block, reader->filled);
    }
    ssize_t got;
    do got = pread(reader->fd, &written, sizeof written, (off_t)reader->end);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof written) return refuse(reader, "cut off");
    if (written != eab_checksum_end(&sum)) return refuse(reader, "damaged: its checksum is another");
    reader->at = (int64_t)sizeof(preamble);
    reader->used = reader->filled = 0;
    return EAB_OK;
}

void eab_checkpoint_close(eab_checkpoint_reader *reader) {
    if (!reader) return;
    close(reader->fd);
    free(reader->path);
    free(reader);
}
