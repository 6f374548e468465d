/* Whether a cell can be trained. */
#ifndef EAB_PLAN_VALIDATE_H
#define EAB_PLAN_VALIDATE_H

#include "spec/options.h"

/* Checks one cell as a whole: d_model against heads, an even head_dim for rope, d_model >= vocabulary for one-hot
 * embeddings, head_dim <= 256, the family's own rules, memory. EAB_BAD_INPUT with a line (what, where, what is
 * allowed). */
int eab_config_check(const eab_config *config);

#endif
