/* A short check of a GPU before its first use, so that no result comes from a device on which this build computes
 * wrong numbers. */
#ifndef EAB_CHECK_DEVICE_H
#define EAB_CHECK_DEVICE_H

#include <stdbool.h>

/* Whether the check is due: the backend works on GPUs, and this program has not passed it on this device with this
 * driver. The user's cache folder records passes; if it cannot be read, the check is always due. False if the device
 * cannot be opened: the caller opens it next, and reports why. */
bool eab_device_check_is_due(const char *backend, int index);

/* Runs the check, which takes seconds, and keeps that it was passed. EAB_NO_DEVICE, with a line that names the first
 * failure, where the device computes wrong numbers; another status where it cannot be checked, as without memory. */
int eab_device_check(const char *backend, int index);

#endif
