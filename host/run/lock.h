/* A run folder's lock: one process at a time holds it, and it is gone when that process is gone, however it ends. */
#ifndef EAB_RUN_LOCK_H
#define EAB_RUN_LOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int fd;        /* of FOLDER/.lock; -1: not held */
    int folder_fd; /* the folder is locked, too, so that the lock holds even if its file is removed; -1: it cannot be
                      locked on this file system */
    char *folder;
    bool created; /* the folder was not there before */
} eab_run_lock;

/* Locks FOLDER, which is created if it is missing, and FOLDER/.lock (flock), and writes the holder into the file.
 * EAB_BAD_INPUT with the holder where another process has it, or where FOLDER is no folder; EAB_IO where it cannot be
 * written. */
int eab_run_lock_take(const char *folder, eab_run_lock *lock);

/* Removes the file, releases the lock, and removes a folder that was created and is still empty. */
void eab_run_lock_release(eab_run_lock *lock);

typedef struct {
    int64_t process; /* 0: not known */
    char host[128], started[32];
} eab_run_lock_holder;

/* Reads the holder from FOLDER/.lock, which a killed process leaves behind. False, and "?", where it names none. */
bool eab_run_lock_read(const char *folder, eab_run_lock_holder *holder);

#endif
