/* Writes valid JSON (RFC 8259): texts become one line of UTF-8, NAN and infinities become null. */
#ifndef EAB_BASE_JSON_H
#define EAB_BASE_JSON_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* An object or array: begin, any number of members, end. A key of NULL adds an element of an array. */
void eab_json_begin(GString *json, const char *key, char bracket); /* '{' or '[' */
void eab_json_end(GString *json, char bracket);                    /* '}' or ']' */
void eab_json_text(GString *json, const char *key, const char *text);
void eab_json_count(GString *json, const char *key, int64_t count);
void eab_json_real(GString *json, const char *key, double value);

#endif
