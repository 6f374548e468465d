/* The identity of a cell. */
#ifndef EAB_SPEC_IDENTITY_H
#define EAB_SPEC_IDENTITY_H

#include "config.h"

/* 16 hex digits that identify the cell: SHA-256, cut to 64 bits, of the family and of all options that are not at their
 * default, as sorted "section.key=value" lines. */
void eab_config_id(const eab_config *config, char id[17]);

#endif
