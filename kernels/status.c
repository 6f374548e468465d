#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

const char *eab_last_error(void) { return message; }

int eab_fail(eab_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return (int)status;
}
