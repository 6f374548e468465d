/* A hash table with a list for each bucket; as many buckets, a power of 2, as entries or more. */
#include "internal.h"

typedef struct entry {
    struct entry *next;
    gpointer key, value;
    guint hash;
} entry;

struct GHashTable {
    entry **buckets;
    guint bits, size; /* 2^bits buckets; entries */
    GHashFunc hash;
    GEqualFunc equal;
    GDestroyNotify free_key, free_value;
};

enum { FIRST_BITS = 3, MOST_BITS = 31 };

/* FNV-1a: Fowler, Noll, Vo; draft-eastlake-fnv. */
guint g_str_hash(gconstpointer key) {
    guint hash = 2166136261u;
    for (const guchar *c = key; *c; c++) hash = (hash ^ *c) * 16777619u;
    return hash;
}

gboolean g_str_equal(gconstpointer a, gconstpointer b) { return strcmp(a, b) == 0; }

guint g_int64_hash(gconstpointer key) {
    const guint64 number = *(const guint64 *)key;
    return (guint)(number ^ number >> 32);
}

gboolean g_int64_equal(gconstpointer a, gconstpointer b) { return *(const gint64 *)a == *(const gint64 *)b; }

GHashTable *g_hash_table_new(GHashFunc hash, GEqualFunc equal) {
    return g_hash_table_new_full(hash, equal, NULL, NULL);
}

GHashTable *g_hash_table_new_full(GHashFunc hash, GEqualFunc equal, GDestroyNotify free_key,
                                  GDestroyNotify free_value) {
    GHashTable *table = g_new(GHashTable, 1);
    *table = (GHashTable){.buckets = g_new0(entry *, 1 << FIRST_BITS),
                          .bits = FIRST_BITS,
                          .hash = hash,
                          .equal = equal,
                          .free_key = free_key,
                          .free_value = free_value};
    return table;
}

void g_hash_table_destroy(GHashTable *table) {
    for (gsize i = 0; i < (gsize)1 << table->bits; i++)
        for (entry *next, *here = table->buckets[i]; here; here = next) {
            next = here->next;
            if (table->free_key) table->free_key(here->key);
            if (table->free_value) table->free_value(here->value);
            g_free(here);
        }
    g_free(table->buckets);
    g_free(table);
}

/* By the product's upper bits, on which every bit of the hash has a say: Knuth, TAOCP 3, 6.4. */
static gsize bucket_of(const GHashTable *table, guint hash) { return hash * 2654435769u >> (32 - table->bits); }

static entry *find(const GHashTable *table, gconstpointer key, guint hash) {
    entry *here = table->buckets[bucket_of(table, hash)];
    while (here && (here->hash != hash || !table->equal(here->key, key))) here = here->next;
    return here;
}

static void grow(GHashTable *table) {
    entry **const old = table->buckets;
    const gsize count = (gsize)1 << table->bits++;
    table->buckets = g_new0(entry *, 2 * count);
    for (gsize i = 0; i < count; i++)
        for (entry *next, *here = old[i]; here; here = next) {
            entry **bucket = &table->buckets[bucket_of(table, here->hash)];
            next = here->next;
            here->next = *bucket;
            *bucket = here;
        }
    g_free(old);
}

/* Whether the key was not there yet. Of two equal keys the new one stays if `renew`. */
static gboolean put(GHashTable *table, gpointer key, gpointer value, gboolean renew) {
    const guint hash = table->hash(key);
    entry *found = find(table, key, hash);
    if (found) {
        gpointer unwanted = renew ? found->key : key, old_value = found->value;
        if (renew) found->key = key;
        found->value = value;
        if (table->free_key && unwanted != found->key) table->free_key(unwanted);
        if (table->free_value && old_value != value) table->free_value(old_value);
        return FALSE;
    }
    table->size = eab_subset_length(table->size, 1);
    if (table->size > 1u << table->bits && table->bits < MOST_BITS) grow(table);
    entry **bucket = &table->buckets[bucket_of(table, hash)];
    found = g_new(entry, 1);
    *found = (entry){*bucket, key, value, hash};
    *bucket = found;
    return TRUE;
}

gboolean g_hash_table_insert(GHashTable *table, gpointer key, gpointer value) { return put(table, key, value, FALSE); }

gboolean g_hash_table_add(GHashTable *table, gpointer key) { return put(table, key, key, TRUE); }

gboolean g_hash_table_remove(GHashTable *table, gconstpointer key) {
    const guint hash = table->hash(key);
    entry **link = &table->buckets[bucket_of(table, hash)], *here;
    while ((here = *link) && (here->hash != hash || !table->equal(here->key, key))) link = &here->next;
    if (!here) return FALSE;
    *link = here->next;
    table->size--;
    if (table->free_key) table->free_key(here->key);
    if (table->free_value) table->free_value(here->value);
    g_free(here);
    return TRUE;
}

gboolean g_hash_table_lookup_extended(GHashTable *table, gconstpointer key, gpointer *found, gpointer *value) {
    const entry *here = find(table, key, table->hash(key));
    if (here && found) *found = here->key;
    if (here && value) *value = here->value;
    return here != NULL;
}

gpointer g_hash_table_lookup(GHashTable *table, gconstpointer key) {
    const entry *here = find(table, key, table->hash(key));
    return here ? here->value : NULL;
}

gboolean g_hash_table_contains(GHashTable *table, gconstpointer key) {
    return g_hash_table_lookup_extended(table, key, NULL, NULL);
}

guint g_hash_table_size(GHashTable *table) { return table->size; }
