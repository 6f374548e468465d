/* Small text files, folders, and files that are replaced atomically. */
#ifndef EAB_BASE_FILES_H
#define EAB_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* Reads a regular file of at most `most` bytes without NUL bytes; *text is NULL if there is no file. Never waits for
 * the other end of a pipe. EAB_BAD_INPUT for any other file, with `allowed` at the end of the message; EAB_IO.
 * g_free */
int eab_small_file_read(const char *path, size_t most, const char *allowed, char **text);

/* Creates a folder if it is missing. EAB_BAD_INPUT if its name is that of a file, or of a symbolic link, which would
 * lead out of the run; EAB_IO. */
int eab_folder_make(const char *path);

/* EAB_BAD_INPUT if the folder has this table of a `holder` ("sweep"), where only a `wanted` ("bench") may write. */
int eab_folder_refuse(const char *path, const char *table, const char *holder, const char *wanted);

/* Replacing a file so that a crash leaves the old file or the new one, never a part: written under a temporary name,
 * synced, renamed, and the folder synced. */
typedef struct {
    int fd; /* of the temporary file, for writing; -1 after commit or abandon */
    char *path, *temporary;
} eab_replacement;

/* The temporary name is the file's with this ending. A crash may leave such a file; the next replacement removes it. */
#define EAB_REPLACEMENT_ENDING ".new"

/* Each returns EAB_OK, or EAB_IO with the file's name and the reason; after an error the old file is untouched and the
 * replacement is abandoned. Only one process may replace a file at a time (the run folder's lock ensures it). */
int eab_replace_begin(const char *path, eab_replacement *replacement);
int eab_replace_write(eab_replacement *replacement, const void *bytes, size_t size);
void eab_replace_abandon(eab_replacement *replacement);

/* durable: waits for the disk, so that the file also survives a crash of the machine. */
int eab_replace_commit(eab_replacement *replacement, bool durable);

/* All of it for a text in memory. */
int eab_replace_file(const char *path, const char *text, size_t size, bool durable);

/* Gives a file a second name, which must be free: by a hard link, or by a copy where the file system has none.
 * EAB_IO. */
int eab_file_link(const char *old, const char *new);

/* write(2) until all bytes are written; 0, or -1 with errno. *written (may be NULL): how many were. */
int eab_write_all(int fd, const void *bytes, size_t size, size_t *written);

/* fsync(2); 0, or -1 with errno. Files that cannot be synced (pipes, some file systems) count as synced. */
int eab_sync(int fd);

#endif
