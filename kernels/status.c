#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

const char *eab_last_error(void) { return message; }

int eab_fail(eab_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof message) { /* not in the middle of a character of UTF-8 */
        size_t end = sizeof message - 1;
        while (end > 0 && ((unsigned char)message[end - 1] & 0xC0) == 0x80) end--;
        if (end > 0 && ((unsigned char)message[end - 1] & 0xC0) == 0xC0) message[end - 1] = '\0';
    }
    return (int)status;
}
