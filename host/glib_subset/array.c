/* Arrays that grow: of values, of pointers, of bytes. What callers see comes first in each struct. */
#include "internal.h"

typedef struct {
    GArray public;
    gsize bytes, capacity; /* of an element; in elements */
    gint references;
    GDestroyNotify clear;
} value_array;

GArray *g_array_new(gboolean zero_terminated, gboolean clear, guint bytes) {
    g_assert(!zero_terminated && !clear && bytes);
    value_array *self = g_new0(value_array, 1);
    self->bytes = bytes;
    self->references = 1;
    return &self->public;
}

GArray *g_array_ref(GArray *array) {
    __atomic_add_fetch(&((value_array *)array)->references, 1, __ATOMIC_RELAXED);
    return array;
}

static void clear_range(value_array *self, guint first, guint count) {
    if (!self->clear) return;
    for (guint i = first; i < first + count; i++) self->clear(self->public.data + i * self->bytes);
}

void g_array_unref(GArray *array) {
    value_array *self = (value_array *)array;
    if (__atomic_sub_fetch(&self->references, 1, __ATOMIC_ACQ_REL) > 0) return;
    clear_range(self, 0, array->len);
    g_free(array->data);
    g_free(self);
}

gchar *g_array_free(GArray *array, gboolean free_data) {
    g_assert(free_data && ((value_array *)array)->references == 1);
    g_array_unref(array);
    return NULL;
}

static void reserve(value_array *self, guint length) {
    if (length <= self->capacity) return;
    self->capacity = eab_subset_capacity(self->capacity, length);
    self->public.data = g_realloc(self->public.data, eab_subset_product(self->capacity, self->bytes));
}

GArray *g_array_append_vals(GArray *array, gconstpointer values, guint count) {
    value_array *self = (value_array *)array;
    const guint length = eab_subset_length(array->len, count);
    reserve(self, length);
    if (count) memcpy(array->data + array->len * self->bytes, values, count * self->bytes);
    array->len = length;
    return array;
}

GArray *g_array_set_size(GArray *array, guint length) {
    if (length < array->len) return g_array_remove_range(array, length, array->len - length);
    reserve((value_array *)array, length);
    array->len = length;
    return array;
}

GArray *g_array_remove_range(GArray *array, guint first, guint count) {
    value_array *self = (value_array *)array;
    g_assert(first <= array->len && count <= array->len - first);
    clear_range(self, first, count);
    const gsize after = array->len - first - count;
    if (after && count)
        memmove(array->data + first * self->bytes, array->data + (first + count) * self->bytes, after * self->bytes);
    array->len -= count;
    return array;
}

/* The last one takes its place. */
GArray *g_array_remove_index_fast(GArray *array, guint i) {
    value_array *self = (value_array *)array;
    g_assert(i < array->len);
    clear_range(self, i, 1);
    array->len--;
    if (i < array->len) memcpy(array->data + i * self->bytes, array->data + array->len * self->bytes, self->bytes);
    return array;
}

void g_array_set_clear_func(GArray *array, GDestroyNotify clear) { ((value_array *)array)->clear = clear; }

void g_array_sort(GArray *array, GCompareFunc compare) {
    eab_subset_sort(array->data, array->len, ((value_array *)array)->bytes, compare);
}

/* ---- pointers -------------------------------------------------------------------------------------------------- */

typedef struct {
    GPtrArray public;
    gsize capacity;
    GDestroyNotify free_one;
} pointer_array;

GPtrArray *g_ptr_array_new(void) { return g_ptr_array_new_with_free_func(NULL); }

GPtrArray *g_ptr_array_new_with_free_func(GDestroyNotify free_one) {
    pointer_array *self = g_new0(pointer_array, 1);
    self->free_one = free_one;
    return &self->public;
}

void g_ptr_array_unref(GPtrArray *array) { g_ptr_array_free(array, TRUE); }

gpointer *g_ptr_array_free(GPtrArray *array, gboolean free_pointers) {
    pointer_array *self = (pointer_array *)array;
    gpointer *pointers = array->pdata;
    if (free_pointers) {
        for (guint i = 0; self->free_one && i < array->len; i++)
            if (pointers[i]) self->free_one(pointers[i]);
        g_clear_pointer(&pointers, g_free);
    }
    g_free(self);
    return pointers;
}

void g_ptr_array_add(GPtrArray *array, gpointer pointer) {
    pointer_array *self = (pointer_array *)array;
    const guint length = eab_subset_length(array->len, 1);
    if (length > self->capacity) {
        self->capacity = eab_subset_capacity(self->capacity, length);
        array->pdata = g_realloc(array->pdata, eab_subset_product(self->capacity, sizeof *array->pdata));
    }
    array->pdata[array->len++] = pointer;
}

void g_ptr_array_sort(GPtrArray *array, GCompareFunc compare) {
    eab_subset_sort(array->pdata, array->len, sizeof *array->pdata, compare);
}

/* ---- bytes ----------------------------------------------------------------------------------------------------- */

typedef struct {
    GByteArray public;
    gsize capacity;
} byte_array;

GByteArray *g_byte_array_new(void) { return &g_new0(byte_array, 1)->public; }

GByteArray *g_byte_array_append(GByteArray *array, const guint8 *bytes, guint count) {
    byte_array *self = (byte_array *)array;
    const guint length = eab_subset_length(array->len, count);
    if (length > self->capacity) {
        self->capacity = eab_subset_capacity(self->capacity, length);
        array->data = g_realloc(array->data, self->capacity);
    }
    if (count) memcpy(array->data + array->len, bytes, count);
    array->len = length;
    return array;
}

guint8 *g_byte_array_free(GByteArray *array, gboolean free_bytes) {
    g_assert(free_bytes);
    g_free(array->data);
    g_free(array);
    return NULL;
}

struct GBytes {
    gpointer bytes;
    gsize size;
};

GBytes *g_bytes_new(gconstpointer bytes, gsize size) {
    GBytes *copy = g_new(GBytes, 1);
    *copy = (GBytes){g_memdup2(bytes, size), size};
    return copy;
}

gconstpointer g_bytes_get_data(GBytes *bytes, gsize *size) {
    if (size) *size = bytes->size;
    return bytes->bytes;
}

void g_bytes_unref(GBytes *bytes) {
    if (!bytes) return;
    g_free(bytes->bytes);
    g_free(bytes);
}
