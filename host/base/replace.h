/* Replacing a file so that after a crash it is the old one or the new one, whole: written beside it, synced, renamed
 * over it, and the folder synced. */
#ifndef EAB_BASE_REPLACE_H
#define EAB_BASE_REPLACE_H

#include <stddef.h>

typedef struct {
    int fd; /* of the file beside, for writing; -1 after commit or abandon */
    char *path, *temporary;
} eab_replacement;

/* Each returns EAB_OK or EAB_IO with the file's name and the reason; after an error the old file is untouched and the
 * replacement is abandoned already. One process at a time replaces a file (the run folder's lock). */
int eab_replace_begin(const char *path, eab_replacement *replacement);
int eab_replace_write(eab_replacement *replacement, const void *bytes, size_t size);
int eab_replace_commit(eab_replacement *replacement);
void eab_replace_abandon(eab_replacement *replacement);

/* For files that can be made again: whole after a crash of the program, perhaps not after one of the machine; no wait
 * for the disk. */
int eab_replace_commit_unsynced(eab_replacement *replacement);

/* All of it for a text in memory. */
int eab_replace_file(const char *path, const char *text, size_t size);

/* Removes what a crash in the middle of a replacement of `path` left behind. */
void eab_replace_clean(const char *path);

/* write(2) until all is written; 0, or -1 with errno. *written (may be NULL) counts what got there. */
int eab_write_all(int fd, const void *bytes, size_t size, size_t *written);

/* fsync(2); 0, or -1 with errno. Files that cannot be synced (pipes, some file systems) count as synced. */
int eab_sync(int fd);

#endif
