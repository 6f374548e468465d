/* Floating-point numbers of 16 bits on the host, for checks and inputs. dtype: EAB_BF16 or EAB_F16 (IEEE binary16),
 * of kernels/attention.h. */
#ifndef EAB_BASE_HALF_H
#define EAB_BASE_HALF_H

#include <stdint.h>

/* The unit roundoff: half of the spacing of the type's numbers at 1. */
double eab_half_roundoff(int32_t dtype);

/* The type's nearest number, ties to even; infinity from the half-way to the number after the largest on. NaN stays. */
double eab_half_round(double value, int32_t dtype);

/* The bits of eab_half_round(value). */
uint16_t eab_half_encode(double value, int32_t dtype);
double eab_half_decode(uint16_t bits, int32_t dtype);

#endif
