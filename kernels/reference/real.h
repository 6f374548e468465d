/* The reference's real type, and a prefix for the names of each of its two compilations. */
#ifndef EAB_KERNELS_REFERENCE_REAL_H
#define EAB_KERNELS_REFERENCE_REAL_H

#ifdef EAB_REFERENCE_FLOAT32
typedef float eab_real;
#define EAB_REFERENCE(name) eab_plain_##name
#else
typedef double eab_real;
#define EAB_REFERENCE(name) eab_reference_##name
#endif

#endif
