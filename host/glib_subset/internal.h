/* What the files of this folder share. */
#ifndef EAB_HOST_GLIB_SUBSET_INTERNAL_H
#define EAB_HOST_GLIB_SUBSET_INTERNAL_H

#include "glib.h"

/* a + b, a * b: of sizes in bytes; ends the program where the result does not fit. */
gsize eab_subset_sum(gsize a, gsize b);
gsize eab_subset_product(gsize a, gsize b);

/* The next capacity of a block that must hold `needed` elements: at least doubled, so that appending is linear. */
gsize eab_subset_capacity(gsize capacity, gsize needed);

/* The length of an array that has `length` elements and gets `count` more. */
guint eab_subset_length(guint length, guint count);

void eab_subset_sort(void *base, gsize count, gsize bytes, GCompareFunc compare);

/* vsnprintf into new memory. */
gchar *eab_subset_vprintf(const gchar *format, va_list arguments, gsize *length) EAB_SUBSET_PRINTF(1, 0);

void eab_subset_set_error(GError **error, GQuark domain, gint code, const gchar *format, ...) EAB_SUBSET_PRINTF(4, 5);

#endif
