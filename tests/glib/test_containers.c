#include <criterion/criterion.h>
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The next of a sequence that is the same on every machine, below `bound`. */
static uint32_t draw(uint32_t *state, uint32_t bound) {
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)*state * bound >> 32);
}

Test(string, grows) {
    GString *string = g_string_new(NULL);
    cr_expect_str_eq(string->str, "");
    for (int i = 0; i < 1000; i++) {
        g_string_append_c(string, (char)('a' + i % 26));
        g_string_append_printf(string, "%d", i);
        g_string_append(string, ";");
    }
    cr_expect_eq(string->len, 1000 * 2 + 10 + 180 + 2700);
    cr_expect_eq(string->len, strlen(string->str));
    cr_expect(g_str_has_prefix(string->str, "a0;b1;c2;"));
    g_string_truncate(string, 3);
    g_string_truncate(string, 100);
    cr_expect_str_eq(string->str, "a0;");
    g_string_append_len(string, "xyz", 2);
    g_string_prepend_len(string, "\0!", 2);
    g_string_prepend_len(string, "pre", -1);
    cr_expect_eq(string->len, 10);
    cr_expect_arr_eq(string->str, "pre\0!a0;xy", 11);
    g_string_append_c(string, '\0');
    cr_expect_eq(string->len, 11);
    char *text = g_string_free(string, FALSE);
    cr_expect_str_eq(text, "pre");
    g_free(text);
    cr_expect_null(g_string_free(g_string_new("gone"), TRUE));
    string = g_string_new("old");
    g_string_printf(string, "%d: %s", 1, "new and longer");
    cr_expect_str_eq(string->str, "1: new and longer");
    g_string_set_size(string, 2);
    cr_expect_str_eq(string->str, "1:");
    g_string_set_size(string, 5000);
    cr_expect(string->len == 5000 && string->str[5000] == '\0');
    memset(string->str, 'z', 5000);
    cr_expect_eq(strlen(string->str), 5000);
    g_string_free(string, TRUE);
}

Test(string, long_formats) {
    char wide[3000];
    GString *string = g_string_new("");
    memset(wide, 'w', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    g_string_append_printf(string, "<%s>", wide);
    cr_expect_eq(string->len, sizeof wide + 1);
    cr_expect_eq(string->str[string->len - 1], '>');
    g_string_append_printf(string, "%s", "");
    cr_expect_eq(string->len, sizeof wide + 1);
    g_string_free(string, TRUE);
}

static int cleared;
static void clear(gpointer value) { cleared += *(const int *)value; }

Test(array, grows_and_shrinks) {
    GArray *array = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(array, clear);
    for (int i = 0; i < 1000; i++) g_array_append_val(array, i);
    cr_assert_eq(array->len, 1000);
    for (int i = 0; i < 1000; i++) cr_assert_eq(g_array_index(array, int, i), i);
    g_array_remove_range(array, 0, 0);
    g_array_remove_range(array, 10, 980);
    cr_expect_eq(cleared, (10 + 989) * 980 / 2);
    cr_expect_eq(array->len, 20);
    cr_expect_eq(g_array_index(array, int, 9), 9);
    cr_expect_eq(g_array_index(array, int, 10), 990);
    g_array_remove_index(array, 0);
    cr_expect_eq(g_array_index(array, int, 0), 1);
    cleared = 0;
    g_array_set_size(array, 2);
    cr_expect_eq(cleared, 3 + 4 + 5 + 6 + 7 + 8 + 9 + (990 + 999) * 10 / 2);
    cr_expect_eq(array->len, 2);
    g_array_set_size(array, 0);
    cr_expect_eq(array->len, 0);
    g_array_unref(array);
}

Test(array, references) {
    GArray *array = g_array_new(FALSE, FALSE, sizeof(int));
    const int seven = 7;
    g_array_set_clear_func(array, clear);
    g_array_append_val(array, seven);
    cr_expect_eq(g_array_ref(array), array);
    g_array_unref(array);
    cr_expect_eq(cleared, 0);
    cr_expect_eq(g_array_index(array, int, 0), 7);
    g_array_free(array, TRUE);
    cr_expect_eq(cleared, 7);
}

Test(array, removes_fast) {
    GArray *array = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(array, clear);
    for (int i = 1; i <= 4; i++) g_array_append_val(array, i);
    g_array_remove_index_fast(array, 1);
    cr_expect(array->len == 3 && cleared == 2);
    cr_expect(g_array_index(array, int, 0) == 1 && g_array_index(array, int, 1) == 4 &&
              g_array_index(array, int, 2) == 3);
    g_array_remove_index_fast(array, 2);
    cr_expect(array->len == 2 && cleared == 5 && g_array_index(array, int, 1) == 4);
    g_array_unref(array);
    cr_expect_eq(cleared, 10);
}

static int freed;
static void free_one(gpointer text) {
    freed++;
    g_free(text);
}

Test(queue, first_in_first_out) {
    GQueue queue, copy;
    int values[3];
    g_queue_init(&queue);
    cr_expect(g_queue_is_empty(&queue) && !g_queue_pop_head(&queue));
    for (int i = 0; i < 3; i++) g_queue_push_tail(&queue, &values[i]);
    copy = queue;
    g_queue_init(&queue);
    cr_expect(g_queue_is_empty(&queue) && !g_queue_is_empty(&copy));
    cr_expect_eq(g_queue_pop_head(&copy), &values[0]);
    g_queue_push_tail(&copy, &values[0]);
    cr_expect_eq(copy.length, 3);
    for (int i = 1; i < 4; i++) cr_expect_eq(g_queue_pop_head(&copy), &values[i % 3]);
    cr_expect(g_queue_is_empty(&copy) && copy.length == 0);
    g_queue_push_tail(&copy, NULL);
    cr_expect_not(g_queue_is_empty(&copy));
    cr_expect_null(g_queue_pop_head(&copy));
    for (int i = 0; i < 5; i++) g_queue_push_tail(&copy, g_strdup("text"));
    g_queue_clear_full(&copy, free_one);
    cr_expect(freed == 5 && g_queue_is_empty(&copy) && copy.length == 0);
}

typedef struct {
    int key, place;
    char padding[5];
} sorted;

static gint by_key(gconstpointer a, gconstpointer b) { return ((const sorted *)a)->key - ((const sorted *)b)->key; }
static gint by_key_backwards(gconstpointer a, gconstpointer b, gpointer calls) {
    ++*(int *)calls;
    return by_key(b, a);
}

Test(array, sorting) {
    uint32_t state = 1;
    for (int length = 0; length < 70; length++) {
        GArray *array = g_array_new(FALSE, FALSE, sizeof(sorted));
        for (int i = 0; i < length; i++) {
            const sorted value = {.key = (int)draw(&state, 10), .place = i};
            g_array_append_val(array, value);
        }
        g_array_sort(array, by_key);
        for (int i = 1; i < length; i++) {
            const sorted *a = &g_array_index(array, sorted, i - 1), *b = a + 1;
            cr_assert(a->key < b->key || (a->key == b->key && a->place < b->place), "length %d, place %d", length, i);
        }
        int calls = 0;
        if (length) g_qsort_with_data(array->data, length, sizeof(sorted), by_key_backwards, &calls);
        for (int i = 1; i < length; i++) {
            const sorted *a = &g_array_index(array, sorted, i - 1), *b = a + 1;
            cr_assert(a->key > b->key || (a->key == b->key && a->place < b->place), "length %d, place %d", length, i);
        }
        cr_assert_eq(calls > 0, length > 1);
        g_array_free(array, TRUE);
    }
}

static gint by_text(gconstpointer a, gconstpointer b) { return strcmp(*(char *const *)a, *(char *const *)b); }
Test(pointers, grow) {
    GPtrArray *array = g_ptr_array_new_with_free_func(free_one), *plain = g_ptr_array_new();
    for (int i = 0; i < 100; i++) g_ptr_array_add(array, g_strdup_printf("%02d", (i * 37) % 100));
    g_ptr_array_sort(array, by_text);
    for (int i = 0; i < 100; i++) {
        char text[8];
        snprintf(text, sizeof text, "%02d", i);
        cr_expect_str_eq(g_ptr_array_index(array, i), text);
    }
    g_ptr_array_unref(array);
    cr_expect_eq(freed, 100);
    g_ptr_array_add(plain, plain);
    g_ptr_array_add(plain, NULL);
    cr_expect_eq(plain->len, 2);
    gpointer *pointers = g_ptr_array_free(plain, FALSE);
    cr_expect(pointers[0] == plain && !pointers[1]);
    g_free(pointers);
    cr_expect_null(g_ptr_array_free(g_ptr_array_new(), TRUE));
}

Test(bytes, grow) {
    GByteArray *array = g_byte_array_new();
    for (int i = 0; i < 1000; i++) g_byte_array_append(array, (const guint8 *)"\0\1\2", 3);
    cr_expect_eq(array->len, 3000);
    for (int i = 0; i < 3000; i++) cr_assert_eq(array->data[i], i % 3);
    g_byte_array_free(array, TRUE);
}

Test(bytes, kept) {
    char text[] = "a\0b";
    gsize size = 0;
    GBytes *kept = g_bytes_new(text, 3), *none = g_bytes_new(NULL, 0);
    memset(text, 'x', sizeof text);
    cr_expect_arr_eq(g_bytes_get_data(kept, &size), "a\0b", 3);
    cr_expect_eq(size, 3);
    cr_expect(!g_bytes_get_data(none, &size) && size == 0);
    g_bytes_unref(kept);
    g_bytes_unref(none);
    g_bytes_unref(NULL);
}

static int keys_freed, values_freed;
static void free_key(gpointer key) {
    keys_freed++;
    g_free(key);
}
static void free_value(gpointer value) {
    values_freed++;
    g_free(value);
}

Test(hash, holds_what_was_put_in) {
    enum { COUNT = 5000 };
    GHashTable *table = g_hash_table_new_full(g_str_hash, g_str_equal, free_key, free_value);
    for (int i = 0; i < COUNT; i++)
        cr_assert(g_hash_table_insert(table, g_strdup_printf("key %d", i), g_strdup_printf("%d", i)));
    cr_expect_eq(g_hash_table_size(table), COUNT);
    for (int i = 0; i < COUNT; i++) {
        char key[32], value[32];
        gpointer found = NULL, stored = NULL;
        snprintf(key, sizeof key, "key %d", i);
        snprintf(value, sizeof value, "%d", i);
        cr_assert_str_eq(g_hash_table_lookup(table, key), value);
        cr_assert(g_hash_table_lookup_extended(table, key, &found, &stored));
        cr_assert(found != key && strcmp(found, key) == 0 && strcmp(stored, value) == 0);
        key[0] = 'K';
        cr_assert_null(g_hash_table_lookup(table, key));
        cr_assert_not(g_hash_table_contains(table, key));
        cr_assert_not(g_hash_table_lookup_extended(table, key, NULL, NULL));
    }
    gpointer first = NULL, now = NULL;
    g_hash_table_lookup_extended(table, "key 7", &first, NULL);
    cr_expect_not(g_hash_table_insert(table, g_strdup("key 7"), g_strdup("seven"))); /* the old key stays */
    g_hash_table_lookup_extended(table, "key 7", &now, NULL);
    cr_expect_eq(now, first);
    cr_expect_str_eq(g_hash_table_lookup(table, "key 7"), "seven");
    cr_expect(keys_freed == 1 && values_freed == 1);
    cr_expect_eq(g_hash_table_size(table), COUNT);
    for (int i = 0; i < COUNT; i += 2) {
        char key[32];
        snprintf(key, sizeof key, "key %d", i);
        cr_assert(g_hash_table_remove(table, key));
        cr_assert_not(g_hash_table_remove(table, key));
    }
    cr_expect_eq(g_hash_table_size(table), COUNT / 2);
    cr_expect(keys_freed == COUNT / 2 + 1 && values_freed == COUNT / 2 + 1);
    cr_expect_str_eq(g_hash_table_lookup(table, "key 7"), "seven");
    cr_expect_null(g_hash_table_lookup(table, "key 8"));
    g_hash_table_destroy(table);
    cr_expect(keys_freed == COUNT + 1 && values_freed == COUNT + 1);
}

Test(hash, sets) {
    GHashTable *table = g_hash_table_new_full(g_str_hash, g_str_equal, free_key, NULL);
    char *first = g_strdup("same"), *second = g_strdup("same");
    gpointer key = NULL;
    cr_expect(g_hash_table_add(table, first));
    cr_expect_not(g_hash_table_add(table, second)); /* the new key stays */
    cr_expect_eq(keys_freed, 1);
    cr_expect(g_hash_table_lookup_extended(table, "same", &key, NULL) && key == second);
    cr_expect(g_hash_table_contains(table, "same"));
    cr_expect_eq(g_hash_table_size(table), 1);
    g_hash_table_destroy(table);
    cr_expect_eq(keys_freed, 2);
}

Test(hash, integers) {
    enum { COUNT = 3000 };
    static gint64 keys[COUNT];
    GHashTable *table = g_hash_table_new(g_int64_hash, g_int64_equal);
    for (int i = 0; i < COUNT; i++) {
        keys[i] = (gint64)(((uint64_t)i << 32) * (i % 2 ? 1 : UINT64_MAX)); /* which differ in the upper half alone */
        g_hash_table_insert(table, &keys[i], GINT_TO_POINTER(i));
    }
    cr_expect_eq(g_hash_table_size(table), COUNT);
    for (int i = 0; i < COUNT; i++) cr_assert_eq(GPOINTER_TO_INT(g_hash_table_lookup(table, &(gint64){keys[i]})), i);
    cr_expect_not(g_hash_table_contains(table, &(gint64){1}));
    g_hash_table_destroy(table);
}

/* FIPS 180-4's examples, a million times "a" of the NESSIE set, and lengths around a block. */
Test(checksum, sha256) {
    static const char *const cases[][2] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                                           {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                                           {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                                            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256);
        g_checksum_update(checksum, (const guchar *)cases[i][0], -1);
        cr_expect_str_eq(g_checksum_get_string(checksum), cases[i][1]);
        cr_expect_str_eq(g_checksum_get_string(checksum), cases[i][1]);
        g_checksum_free(checksum);
    }
    GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256), *all = g_checksum_new(G_CHECKSUM_SHA256);
    for (int left = 1000000, piece = 1; left > 0; left -= piece, piece = piece % 200 + 1) {
        guchar bytes[200];
        memset(bytes, 'a', sizeof bytes);
        piece = MIN(piece, left);
        g_checksum_update(checksum, bytes, piece);
    }
    cr_expect_str_eq(g_checksum_get_string(checksum),
                     "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    g_checksum_free(checksum);
    for (int length = 0; length < 200; length++) { /* the checksum of the checksums of so many bytes 0x5A */
        guchar bytes[200];
        memset(bytes, 0x5A, sizeof bytes);
        checksum = g_checksum_new(G_CHECKSUM_SHA256);
        g_checksum_update(checksum, bytes, length);
        g_checksum_update(all, (const guchar *)g_checksum_get_string(checksum), -1);
        g_checksum_free(checksum);
    }
    cr_expect_str_eq(g_checksum_get_string(all), "ebd02e173c16623567110c32199b420b213c8edc5fbc647cf6576e69c0947ea7");
    g_checksum_free(all);
}
