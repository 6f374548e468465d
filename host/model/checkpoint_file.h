/* A checkpoint as a file: a preamble that names its format and build, then data, then the
 * file's size and a checksum of everything before. A crash while writing leaves the old file or the new one. */
#ifndef EAB_MODEL_CHECKPOINT_FILE_H
#define EAB_MODEL_CHECKPOINT_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Files of another format are refused. Raise it with every change of what checkpoint.c writes. */
enum { EAB_CHECKPOINT_FORMAT = 2 };

/* Continues the checksum `sum` (0 at first) over these bytes, as 8-byte words; the last word is filled up with zeros,
 * so `size` is a multiple of 8 in every call but the last. A change within one word always changes the sum. */
uint64_t eab_checksum(uint64_t sum, const void *bytes, size_t size);

typedef struct eab_checkpoint_writer eab_checkpoint_writer;

/* EAB_IO or EAB_NO_MEMORY with a line. */
int eab_checkpoint_create(const char *path, eab_checkpoint_writer **created);
int eab_checkpoint_put(eab_checkpoint_writer *writer, const void *bytes, size_t size);

/* Syncs the file and renames it into place if `status` is EAB_OK, else drops it. Frees the writer. Returns `status` or
 * the error. */
int eab_checkpoint_end(eab_checkpoint_writer *writer, int status);

typedef struct eab_checkpoint_reader eab_checkpoint_reader;

/* Opens a regular file (no link) and checks its preamble and size, not its checksum. *opened is NULL with EAB_OK where
 * there is no file. EAB_BAD_INPUT with one line for a file that this build cannot read. */
int eab_checkpoint_open(const char *path, eab_checkpoint_reader **opened);
void eab_checkpoint_close(eab_checkpoint_reader *reader);

/* Reads the whole file, checks its checksum and returns to the data's start. EAB_BAD_INPUT. */
int eab_checkpoint_verify(eab_checkpoint_reader *reader);

/* The next bytes; EAB_BAD_INPUT where the data ends before. */
int eab_checkpoint_get(eab_checkpoint_reader *reader, void *bytes, size_t size);

/* Bytes of data not yet read. */
int64_t eab_checkpoint_left(const eab_checkpoint_reader *reader);

/* Fails with EAB_BAD_INPUT and the line "PATH: WHAT". */
int eab_checkpoint_refuse(const eab_checkpoint_reader *reader, const char *what);

#endif
