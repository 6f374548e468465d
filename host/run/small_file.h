/* Small text files of a run's folder: the manifest, the lock, the state. */
#ifndef EAB_RUN_SMALL_FILE_H
#define EAB_RUN_SMALL_FILE_H

#include <stddef.h>

/* Reads a regular file of at most `most` bytes without NUL bytes; *text is to be freed with g_free, or NULL where there
 * is no file. Never waits for a pipe's other end. EAB_BAD_INPUT for any other file, with `allowed` in the message;
 * EAB_IO. */
int eab_small_file_read(const char *path, size_t most, const char *allowed, char **text);

#endif
