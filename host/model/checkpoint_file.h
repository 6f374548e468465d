/* A checkpoint as a file: a preamble that names its format and build, then data in the machine's byte order, then a
 * checksum of everything before it. A crash while writing leaves the old file or the new one. */
#ifndef EAB_MODEL_CHECKPOINT_FILE_H
#define EAB_MODEL_CHECKPOINT_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Files of another format are refused. Raise it with every change of what checkpoint.c writes. */
enum { EAB_CHECKPOINT_FORMAT = 2 };

/* Checksum of 8-byte words in four lanes. Each step is one-to-one, so a change within one word always changes it. */
typedef struct {
    uint64_t lane[4], bytes;
} eab_checksum;

void eab_checksum_begin(eab_checksum *sum);
/* `size` is a multiple of 32 in every call but the last. */
void eab_checksum_add(eab_checksum *sum, const void *bytes, size_t size);
uint64_t eab_checksum_end(const eab_checksum *sum);

typedef struct eab_checkpoint_writer eab_checkpoint_writer;

/* EAB_IO or EAB_NO_MEMORY with a line; after an error only abandon may be called. */
int eab_checkpoint_create(const char *path, eab_checkpoint_writer **created);
int eab_checkpoint_put(eab_checkpoint_writer *writer, const void *bytes, size_t size);
/* Writes the checksum, syncs and renames. Frees the writer, also on an error. */
int eab_checkpoint_commit(eab_checkpoint_writer *writer);
void eab_checkpoint_abandon(eab_checkpoint_writer *writer); /* may be NULL */

typedef struct eab_checkpoint_reader eab_checkpoint_reader;

/* Opens a regular file (no link) and checks its preamble, not its checksum. *opened is NULL with EAB_OK where there is
 * no file. EAB_BAD_INPUT with one line for a file that this build cannot read. */
int eab_checkpoint_open(const char *path, eab_checkpoint_reader **opened);

/* Reads the whole file, checks its checksum and returns to the data's start. EAB_BAD_INPUT. */
int eab_checkpoint_verify(eab_checkpoint_reader *reader);

/* The next bytes; EAB_BAD_INPUT where the data ends before. */
int eab_checkpoint_get(eab_checkpoint_reader *reader, void *bytes, size_t size);

/* Bytes of data not yet read. */
int64_t eab_checkpoint_left(const eab_checkpoint_reader *reader);

/* Fails with EAB_BAD_INPUT and the line "PATH: WHAT". */
int eab_checkpoint_refuse(const eab_checkpoint_reader *reader, const char *what);
void eab_checkpoint_close(eab_checkpoint_reader *reader); /* may be NULL */

#endif
