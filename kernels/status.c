#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

const char *eab_last_error(void) { return message; }

/* Cuts a message that filled its buffer at the end of a whole UTF-8 character. */
static void cut_at_character(void) {
    size_t end = sizeof message - 1;
    while (end > 0 && ((unsigned char)message[end - 1] & 0xC0) == 0x80) end--;
    if (end > 0 && ((unsigned char)message[end - 1] & 0xC0) == 0xC0) message[end - 1] = '\0';
}

int eab_fail(eab_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof message) cut_at_character();
    return (int)status;
}

int eab_fail_prefix(int status, const char *format, ...) {
    char reason[sizeof message];
    va_list arguments;
    memcpy(reason, message, sizeof reason);
    va_start(arguments, format);
    const int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length >= 0 && length < (int)sizeof message) {
        const size_t room = sizeof message - (size_t)length;
        if (snprintf(message + length, room, "%s", reason) >= (int)room) cut_at_character();
    }
    return status;
}
