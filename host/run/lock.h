/* A run folder's lock: held by one process at a time, gone when that process is gone, however it ends. */
#ifndef EAB_RUN_LOCK_H
#define EAB_RUN_LOCK_H

typedef struct {
    int fd;     /* of the file; -1: not held */
    int folder; /* of the folder itself, which is locked, too, so that a lock whose file was removed still holds; -1: it
                   cannot be locked on this file system */
    char *path;
} eab_run_lock;

/* Takes FOLDER and FOLDER/.lock (flock) and writes "process host time" into the file for others to see. EAB_BAD_INPUT with the holder's
 * line where another process has it; EAB_IO where the folder cannot be written. */
int eab_run_lock_take(const char *folder, eab_run_lock *lock);

/* Removes the file and lets go. */
void eab_run_lock_release(eab_run_lock *lock);

#endif
