#include "message.h"

#include <string.h>

GByteArray *eab_rank_write(eab_rank_message_kind kind) {
    const guint8 byte = (guint8)kind;
    return g_byte_array_append(g_byte_array_new(), &byte, 1);
}

void eab_rank_put(GByteArray *message, const void *bytes, size_t size) {
    g_byte_array_append(message, bytes, (guint)size);
}

void eab_rank_put_count(GByteArray *message, int64_t value) { eab_rank_put(message, &value, sizeof value); }

void eab_rank_put_real(GByteArray *message, double value) { eab_rank_put(message, &value, sizeof value); }

void eab_rank_put_text(GByteArray *message, const char *text) {
    eab_rank_put(message, text ? text : "", (text ? strlen(text) : 0) + 1);
}

eab_rank_message_kind eab_rank_read(eab_rank_reader *message, const void *bytes, size_t size) {
    *message = (eab_rank_reader){bytes, (const char *)bytes + size, false};
    guint8 kind = 0;
    eab_rank_get(message, &kind, sizeof kind);
    return (eab_rank_message_kind)kind;
}

void eab_rank_get(eab_rank_reader *message, void *bytes, size_t size) {
    if ((size_t)(message->end - message->at) < size) {
        memset(bytes, 0, size);
        message->at = message->end;
        message->bad = true;
        return;
    }
    memcpy(bytes, message->at, size);
    message->at += size;
}

int64_t eab_rank_get_count(eab_rank_reader *message) {
    int64_t value;
    eab_rank_get(message, &value, sizeof value);
    return value;
}

double eab_rank_get_real(eab_rank_reader *message) {
    double value;
    eab_rank_get(message, &value, sizeof value);
    return value;
}

const char *eab_rank_get_text(eab_rank_reader *message) {
    const char *text = message->at;
    const char *zero = text == message->end ? NULL : memchr(text, '\0', (size_t)(message->end - text));
    if (!zero) {
        message->at = message->end;
        message->bad = true;
        return "";
    }
    message->at = zero + 1;
    return text;
}
