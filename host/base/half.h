/* Numbers of 16 bits on the host: bf16 and IEEE binary16, for checks and inputs. */
#ifndef EAB_BASE_HALF_H
#define EAB_BASE_HALF_H

#include <stdint.h>

/* dtype: EAB_BF16 or EAB_F16 (kernels/attention.h). */

/* Half of the spacing at 1. */
double eab_half_roundoff(int32_t dtype);

/* To the nearest number of the type, ties to even; for values that are no subnormals of it and not too large. */
double eab_half_round(double value, int32_t dtype);

uint16_t eab_half_encode(double value, int32_t dtype);
double eab_half_decode(uint16_t bits, int32_t dtype);

#endif
