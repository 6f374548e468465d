/* The files of [task text]: their tokens, alphabet and digest. */
#ifndef EAB_SPEC_TEXT_H
#define EAB_SPEC_TEXT_H

#include <glib.h>

#include "config.h"

enum { EAB_TEXT_MAX_BYTES = 1 << 28 };

/* Appends to `texts` (of eab_text, eab_text_free) the files that `list` names between commas, each "PATH" or
 * "PATH sha256:DIGEST". Reads no file. EAB_BAD_INPUT with "WHERE: what; allowed: ...". */
int eab_text_parse(const char *list, const char *where, GPtrArray *texts);

/* Reads the file, unless it was read before: a regular file of 1..EAB_TEXT_MAX_BYTES bytes, which has the digest that
 * was given. Whether it has tokens in a unit is for the family's check. EAB_BAD_INPUT with "WHERE: ...";
 * EAB_NO_MEMORY. */
int eab_text_load(eab_text *text, const char *where);

/* For plans whose cells are only named, of a file that is not there: a text without tokens that passes every check. */
void eab_text_stand_in(eab_text *text);

/* "PATH sha256:DIGEST" with the absolute path; g_free. */
char *eab_text_print(const eab_text *text);
void eab_text_free(void *text); /* an eab_text */

/* Bits per character and per byte of the file at a loss in nats per token; NAN where the file is not UTF-8. */
double eab_text_bits_per_character(const eab_level *level, double loss_nats);
double eab_text_bits_per_byte(const eab_level *level, double loss_nats);

#endif
