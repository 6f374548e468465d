/* The table of `eabench sweep --profile`. */
#ifndef EAB_SWEEP_PROFILE_PRINT_H
#define EAB_SWEEP_PROFILE_PRINT_H

#include <stdio.h>

#include "kernels/generic/profile.h"

/* Operations of the training steps, the longest first, then what else the workers' time went to. */
void eab_profile_print(FILE *file, const eab_profile *profile);

#endif
