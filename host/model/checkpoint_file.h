/* A checkpoint as a file: a preamble (what it is, of which format), bytes in the machine's own order, and behind them a
 * checksum of everything before. Written beside its place and renamed into it, so that a crash leaves the old one or
 * the new one; read without trust: nothing that another program left there is taken for ours. */
#ifndef EAB_MODEL_CHECKPOINT_FILE_H
#define EAB_MODEL_CHECKPOINT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A checkpoint of another format is refused. To be raised with every change of what train_checkpoint.c writes. */
enum { EAB_CHECKPOINT_FORMAT = 1 };

/* Sum of a stream of 8-byte words in four lanes. A change within one word always changes it: each step is
 * one-to-one. */
typedef struct {
    uint64_t lane[4], bytes;
} eab_checksum;

void eab_checksum_begin(eab_checksum *sum);
/* `size` is a multiple of 32 in every call but the last. */
void eab_checksum_add(eab_checksum *sum, const void *bytes, size_t size);
uint64_t eab_checksum_end(const eab_checksum *sum);

typedef struct eab_checkpoint_writer eab_checkpoint_writer;

/* EAB_IO or EAB_NO_MEMORY with a line; after an error only abandon is left to call. */
int eab_checkpoint_create(const char *path, eab_checkpoint_writer **created);
int eab_checkpoint_put(eab_checkpoint_writer *writer, const void *bytes, size_t size);
/* The checksum, fsync, rename. Frees the writer also where it fails. */
int eab_checkpoint_commit(eab_checkpoint_writer *writer);
void eab_checkpoint_abandon(eab_checkpoint_writer *writer); /* NULL: nothing */

typedef struct eab_checkpoint_reader eab_checkpoint_reader;

/* Opens a regular file (no link) with our preamble; its checksum is not looked at yet. *opened is NULL with EAB_OK
 * where there is no file; EAB_BAD_INPUT with one line where there is another thing. */
int eab_checkpoint_open(const char *path, eab_checkpoint_reader **opened);

/* Reads all of it, at most `most_bytes`, for the checksum, and goes back to behind the preamble. EAB_BAD_INPUT. */
int eab_checkpoint_verify(eab_checkpoint_reader *reader, int64_t most_bytes);

/* The next bytes; EAB_BAD_INPUT where the file ends before. */
int eab_checkpoint_get(eab_checkpoint_reader *reader, void *bytes, size_t size);
int eab_checkpoint_skip(eab_checkpoint_reader *reader, int64_t size);

/* Bytes that are left before the checksum. */
int64_t eab_checkpoint_left(const eab_checkpoint_reader *reader);
void eab_checkpoint_close(eab_checkpoint_reader *reader); /* NULL: nothing */

#endif
