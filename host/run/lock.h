/* A run folder's lock: one process at a time holds it, and it is gone when that process is gone, however it ends. */
#ifndef EAB_RUN_LOCK_H
#define EAB_RUN_LOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int fd;     /* of FOLDER/.lock; -1: not held */
    int folder; /* of the folder itself, which is locked, too, so that the lock holds even if its file is removed; -1: this
                   file system cannot lock a folder */
    char *path;
} eab_run_lock;

/* Locks FOLDER and FOLDER/.lock (flock), and writes the holder into the file. EAB_BAD_INPUT with the holder where another
 * process has it; EAB_IO where the folder cannot be written. */
int eab_run_lock_take(const char *folder, eab_run_lock *lock);

/* Removes the file and releases the lock. */
void eab_run_lock_release(eab_run_lock *lock);

typedef struct {
    int64_t process; /* 0: not known */
    char host[128], started[32];
} eab_run_lock_holder;

/* Reads the holder from FOLDER/.lock, which a killed process leaves behind. False, and "?", where the file says none. */
bool eab_run_lock_read(const char *folder, eab_run_lock_holder *holder);

#endif
