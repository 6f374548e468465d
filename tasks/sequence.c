/* The host's only copy of eab_sequence_generate, which contains all families. */
#define EAB_SEQUENCE_CODE
#include "sequence.h"
