/* A run folder's lock: one process at a time holds it. It ends with that process, also if the process is killed. */
#ifndef EAB_RUN_LOCK_H
#define EAB_RUN_LOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    char *folder;  /* NULL: not held */
    int fd;        /* of FOLDER/.lock */
    int folder_fd; /* the folder is locked, too, so that the lock holds even if its file is removed; some file systems
                      cannot do that */
    bool created;  /* the folder was created for the lock */
} eab_run_lock;

/* Creates FOLDER if it is missing, locks it and FOLDER/.lock (flock), and writes the holder into the file.
 * EAB_BAD_INPUT, with the holder, if another process has it, or if FOLDER is not a folder; EAB_IO if it cannot be
 * written. */
int eab_run_lock_take(const char *folder, eab_run_lock *lock);

/* Removes the file, releases the lock, and removes a folder that was created and is still empty. */
void eab_run_lock_release(eab_run_lock *lock);

typedef struct {
    int64_t process; /* 0: not known */
    char host[128], started[32];
} eab_run_lock_holder;

/* Reads the holder from FOLDER/.lock, which a killed process leaves behind. False, and "?", if the file names none. */
bool eab_run_lock_read(const char *folder, eab_run_lock_holder *holder);

#endif
