/* The identity of a cell. */
#ifndef EAB_SPEC_IDENTITY_H
#define EAB_SPEC_IDENTITY_H

#include "config.h"

/* 16 hex digits that identify the cell: SHA-256, cut to 64 bits, of the family and of all options that are not at their
 * default, as sorted "section.key=value" lines. */
void eab_config_id(const eab_config *config, char id[17]);

/* The same for many cells: keeps the lines of the last cell, so that the next one takes about a microsecond if it
 * differs in few options. Mixtures must live as long as the object. */
typedef struct eab_identity eab_identity;
eab_identity *eab_identity_new(void);
void eab_identity_print(eab_identity *identity, const eab_config *config, char id[17]);
void eab_identity_free(eab_identity *identity);

#endif
