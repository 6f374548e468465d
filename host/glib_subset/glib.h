/* The part of GLib that eabench uses, for machines where GLib is not installed; README.md says when it is taken. Names,
 * arguments and results are GLib's, whose manual explains them (docs.gtk.org/glib); what a caller must know beyond it, or
 * what is less than there, stands here. tests/glib holds both to the same assertions.
 *
 * Memory: where none is left, and where a length passes what its type holds, the program ends with one line on standard
 * error and exit code 3. A block of 0 bytes is NULL. */
#ifndef EAB_HOST_GLIB_SUBSET_GLIB_H
#define EAB_HOST_GLIB_SUBSET_GLIB_H

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* Tells this header from GLib's own. */
#define EAB_GLIB_SUBSET 1

/* ---- types and macros ---------------------------------------------------------------------------------------- */

typedef char gchar;
typedef unsigned char guchar;
typedef int gint;
typedef int gboolean;
typedef unsigned guint;
typedef unsigned long gulong;
typedef uint8_t guint8;
typedef uint32_t guint32;
typedef uint32_t gunichar;
typedef int64_t gint64;
typedef uint64_t guint64;
typedef size_t gsize;
typedef ssize_t gssize;
typedef double gdouble;
typedef void *gpointer;
typedef const void *gconstpointer;

#define G_GINT64_FORMAT PRIi64
#define FALSE 0
#define TRUE 1
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CLAMP(x, low, high) ((x) > (high) ? (high) : (x) < (low) ? (low) : (x))
#define G_N_ELEMENTS(array) (sizeof(array) / sizeof *(array))
#define GINT_TO_POINTER(number) ((gpointer)(intptr_t)(number))
#define GUINT_TO_POINTER(number) ((gpointer)(uintptr_t)(number))
#define GSIZE_TO_POINTER(number) ((gpointer)(uintptr_t)(number))
#define GPOINTER_TO_INT(pointer) ((gint)(intptr_t)(pointer))
#define GPOINTER_TO_UINT(pointer) ((guint)(uintptr_t)(pointer))
#define GPOINTER_TO_SIZE(pointer) ((gsize)(uintptr_t)(pointer))
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define GUINT32_TO_LE(number) ((guint32)(number))
#define GUINT64_TO_LE(number) ((guint64)(number))
#else
#define GUINT32_TO_LE(number) __builtin_bswap32(number)
#define GUINT64_TO_LE(number) __builtin_bswap64(number)
#endif
#define EAB_SUBSET_PRINTF(text, first) __attribute__((format(printf, text, first)))

typedef void (*GDestroyNotify)(gpointer data);
typedef gint (*GCompareFunc)(gconstpointer a, gconstpointer b);
typedef gint (*GCompareDataFunc)(gconstpointer a, gconstpointer b, gpointer data);
typedef guint (*GHashFunc)(gconstpointer key);
typedef gboolean (*GEqualFunc)(gconstpointer a, gconstpointer b);

/* ---- memory.c: memory, errors, and sorting --------------------------------------------------------------------- */

gpointer g_malloc(gsize bytes);
gpointer g_malloc0(gsize bytes);
gpointer g_malloc_n(gsize count, gsize bytes);
gpointer g_malloc0_n(gsize count, gsize bytes);
gpointer g_realloc(gpointer block, gsize bytes);
gpointer g_memdup2(gconstpointer bytes, gsize size);
void g_free(gpointer block);
#define g_new(type, count) ((type *)g_malloc_n((gsize)(count), sizeof(type)))
#define g_new0(type, count) ((type *)g_malloc0_n((gsize)(count), sizeof(type)))
#define g_clear_pointer(pointer, destroy)             \
    do {                                              \
        __typeof__(*(pointer)) cleared_ = *(pointer); \
        *(pointer) = NULL;                            \
        if (cleared_) (destroy)(cleared_);            \
    } while (0)

/* Stays in a Release build. */
#define g_assert(condition) ((condition) ? (void)0 : eab_subset_assertion(__FILE__, __LINE__, #condition))
_Noreturn void eab_subset_assertion(const char *file, int line, const char *condition);

typedef guint32 GQuark;
typedef struct {
    GQuark domain;
    gint code;
    gchar *message;
} GError;
void g_error_free(GError *error);
void g_clear_error(GError **error);
gboolean g_error_matches(const GError *error, GQuark domain, gint code);

/* Stable. */
void g_qsort_with_data(gconstpointer array, gint count, gsize bytes, GCompareDataFunc compare, gpointer data);

/* In microseconds. */
gint64 g_get_monotonic_time(void);
void g_usleep(gulong duration);

/* ---- text.c: strings -------------------------------------------------------------------------------------------- */

gchar *g_strdup(const gchar *text);
gchar *g_strndup(const gchar *text, gsize length);
gchar *g_strconcat(const gchar *first, ...) __attribute__((sentinel));
gchar *g_strdup_printf(const gchar *format, ...) EAB_SUBSET_PRINTF(1, 2);
gchar *g_strdup_vprintf(const gchar *format, va_list arguments) EAB_SUBSET_PRINTF(1, 0);
gint g_snprintf(gchar *text, gsize size, const gchar *format, ...) EAB_SUBSET_PRINTF(3, 4);
gsize g_strlcpy(gchar *to, const gchar *from, gsize size);
gsize g_strlcat(gchar *to, const gchar *from, gsize size);
gint g_strcmp0(const gchar *a, const gchar *b);
gboolean g_str_has_prefix(const gchar *text, const gchar *prefix);
gboolean g_str_has_suffix(const gchar *text, const gchar *suffix);
gchar *g_strchug(gchar *text);
gchar *g_strchomp(gchar *text);
#define g_strstrip(text) g_strchomp(g_strchug(text))
gchar **g_strsplit(const gchar *text, const gchar *delimiter, gint most);
gchar **g_strsplit_set(const gchar *text, const gchar *delimiters, gint most);
gchar *g_strjoinv(const gchar *separator, gchar **words);
void g_strfreev(gchar **words);
guint g_strv_length(gchar **words);
gboolean g_strv_contains(const gchar *const *words, const gchar *word);
gchar *g_shell_quote(const gchar *word);
const gchar *g_strerror(gint number);

/* ---- numbers.c: characters and numbers, the same in every locale ------------------------------------------------ */

gboolean g_ascii_isspace(gchar c);
gboolean g_ascii_isdigit(gchar c);
gboolean g_ascii_isalnum(gchar c);
gboolean g_ascii_iscntrl(gchar c);
gboolean g_ascii_isprint(gchar c);
gchar g_ascii_tolower(gchar c);
enum { G_ASCII_DTOSTR_BUF_SIZE = 39 };
gdouble g_ascii_strtod(const gchar *text, gchar **end);
gchar *g_ascii_dtostr(gchar *text, gint size, gdouble number);
gchar *g_ascii_formatd(gchar *text, gint size, const gchar *format, gdouble number);
gint64 g_ascii_strtoll(const gchar *text, gchar **end, guint base);
guint64 g_ascii_strtoull(const gchar *text, gchar **end, guint base);

/* ---- utf8.c ----------------------------------------------------------------------------------------------------- */

gboolean g_utf8_validate(const gchar *text, gssize length, const gchar **end);
gchar *g_utf8_make_valid(const gchar *text, gssize length);
gunichar g_utf8_get_char_validated(const gchar *text, gssize length);

/* ---- string.c: texts that grow ----------------------------------------------------------------------------------- */

typedef struct {
    gchar *str; /* len bytes and a NUL */
    gsize len, allocated_len;
} GString;

GString *g_string_new(const gchar *text);
gchar *g_string_free(GString *string, gboolean free_text);
GString *g_string_append(GString *string, const gchar *text);
GString *g_string_append_len(GString *string, const gchar *text, gssize length);
GString *g_string_prepend_len(GString *string, const gchar *text, gssize length);
GString *g_string_append_c(GString *string, gchar c);
void g_string_append_printf(GString *string, const gchar *format, ...) EAB_SUBSET_PRINTF(2, 3);
void g_string_printf(GString *string, const gchar *format, ...) EAB_SUBSET_PRINTF(2, 3);
GString *g_string_set_size(GString *string, gsize length);
GString *g_string_truncate(GString *string, gsize length);

/* ---- array.c ----------------------------------------------------------------------------------------------------- */

typedef struct _GArray { /* NOLINT(bugprone-reserved-identifier): GLib's own name, by which mixture.h knows it */
    gchar *data;
    guint len;
} GArray;
GArray *g_array_new(gboolean zero_terminated, gboolean clear, guint bytes); /* both FALSE */
GArray *g_array_ref(GArray *array);
void g_array_unref(GArray *array);
gchar *g_array_free(GArray *array, gboolean free_data); /* TRUE, of an array with one reference */
GArray *g_array_append_vals(GArray *array, gconstpointer values, guint count);
GArray *g_array_set_size(GArray *array, guint length);
GArray *g_array_remove_range(GArray *array, guint first, guint count);
GArray *g_array_remove_index_fast(GArray *array, guint i);
#define g_array_remove_index(array, i) g_array_remove_range(array, i, 1)
void g_array_set_clear_func(GArray *array, GDestroyNotify clear);
void g_array_sort(GArray *array, GCompareFunc compare); /* stable */
#define g_array_append_val(array, value) g_array_append_vals(array, &(value), 1)
#define g_array_index(array, type, i) (((type *)(void *)(array)->data)[i])

typedef struct {
    gpointer *pdata;
    guint len;
} GPtrArray;
GPtrArray *g_ptr_array_new(void);
GPtrArray *g_ptr_array_new_with_free_func(GDestroyNotify free_one);
void g_ptr_array_unref(GPtrArray *array);
gpointer *g_ptr_array_free(GPtrArray *array, gboolean free_pointers);
void g_ptr_array_add(GPtrArray *array, gpointer pointer);
void g_ptr_array_sort(GPtrArray *array, GCompareFunc compare); /* of pointers to the pointers; stable */
#define g_ptr_array_index(array, i) ((array)->pdata[i])

typedef struct {
    guint8 *data;
    guint len;
} GByteArray;
GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_append(GByteArray *array, const guint8 *bytes, guint count);
typedef struct GBytes GBytes;
GBytes *g_bytes_new(gconstpointer bytes, gsize size);
gconstpointer g_bytes_get_data(GBytes *bytes, gsize *size);
void g_bytes_unref(GBytes *bytes);                                 /* of the only reference */
guint8 *g_byte_array_free(GByteArray *array, gboolean free_bytes); /* TRUE */

/* ---- hash_table.c ------------------------------------------------------------------------------------------------ */

typedef struct GHashTable GHashTable;
guint g_str_hash(gconstpointer key);
gboolean g_str_equal(gconstpointer a, gconstpointer b);
guint g_int64_hash(gconstpointer key);
gboolean g_int64_equal(gconstpointer a, gconstpointer b);
GHashTable *g_hash_table_new(GHashFunc hash, GEqualFunc equal);
GHashTable *g_hash_table_new_full(GHashFunc hash, GEqualFunc equal, GDestroyNotify free_key, GDestroyNotify free_value);
void g_hash_table_destroy(GHashTable *table);
gboolean g_hash_table_insert(GHashTable *table, gpointer key,
                             gpointer value);               /* an equal key stays, this one is freed */
gboolean g_hash_table_add(GHashTable *table, gpointer key); /* an equal key is freed, this one stays */
gboolean g_hash_table_remove(GHashTable *table, gconstpointer key);
gpointer g_hash_table_lookup(GHashTable *table, gconstpointer key);
gboolean g_hash_table_lookup_extended(GHashTable *table, gconstpointer key, gpointer *found, gpointer *value);
gboolean g_hash_table_contains(GHashTable *table, gconstpointer key);
guint g_hash_table_size(GHashTable *table);

/* ---- queue.c ----------------------------------------------------------------------------------------------------- */

typedef struct GList GList;
typedef struct {
    GList *head, *tail;
    guint length;
} GQueue;
void g_queue_init(GQueue *queue);
gboolean g_queue_is_empty(GQueue *queue);
void g_queue_push_tail(GQueue *queue, gpointer data);
gpointer g_queue_pop_head(GQueue *queue);
void g_queue_clear_full(GQueue *queue, GDestroyNotify free_one);

/* ---- checksum.c -------------------------------------------------------------------------------------------------- */

typedef enum { G_CHECKSUM_SHA256 } GChecksumType;
typedef struct GChecksum GChecksum;
GChecksum *g_checksum_new(GChecksumType type);
void g_checksum_update(GChecksum *checksum, const guchar *bytes, gssize count);
const gchar *g_checksum_get_string(GChecksum *checksum); /* after it no more bytes */
void g_checksum_free(GChecksum *checksum);

/* ---- files.c ----------------------------------------------------------------------------------------------------- */

typedef enum {
    G_FILE_TEST_IS_REGULAR = 1 << 0,
    G_FILE_TEST_IS_SYMLINK = 1 << 1,
    G_FILE_TEST_IS_DIR = 1 << 2,
    G_FILE_TEST_EXISTS = 1 << 4
} GFileTest;
typedef enum { G_FILE_ERROR_NOTDIR, G_FILE_ERROR_NOENT, G_FILE_ERROR_FAILED } GFileError; /* all others: FAILED */
#define G_FILE_ERROR g_file_error_quark()
GQuark g_file_error_quark(void);
typedef struct GDir GDir;
GDir *g_dir_open(const gchar *path, guint flags, GError **error); /* 0 */
const gchar *g_dir_read_name(GDir *folder);
void g_dir_close(GDir *folder);
gchar *g_path_get_dirname(const gchar *path);
gchar *g_path_get_basename(const gchar *path);
gchar *g_canonicalize_filename(const gchar *path, const gchar *relative_to); /* NULL: the current folder */
gboolean g_file_test(const gchar *path, GFileTest test);
gboolean g_file_get_contents(const gchar *path, gchar **text, gsize *length,
                             GError **error); /* error: NULL; see errno */
gint g_mkdir_with_parents(const gchar *path, gint mode);
gchar *g_build_filename(const gchar *first, ...) __attribute__((sentinel));

/* ---- option.c ---------------------------------------------------------------------------------------------------- */

typedef enum {
    G_OPTION_ARG_NONE,
    G_OPTION_ARG_INT = 2,
    G_OPTION_ARG_FILENAME = 4,
    G_OPTION_ARG_FILENAME_ARRAY = 6,
    G_OPTION_ARG_DOUBLE = 7,
    G_OPTION_ARG_INT64 = 8
} GOptionArg;
typedef enum { G_OPTION_ERROR_UNKNOWN_OPTION, G_OPTION_ERROR_BAD_VALUE } GOptionError;
#define G_OPTION_ERROR g_option_error_quark()
#define G_OPTION_REMAINING ""

typedef struct {
    const gchar *long_name;
    gchar short_name; /* of G_OPTION_ARG_NONE only */
    gint flags;       /* 0 */
    GOptionArg arg;
    gpointer arg_data;
    const gchar *description, *arg_description;
} GOptionEntry;

typedef struct GOptionContext GOptionContext;
GQuark g_option_error_quark(void);
void g_set_prgname(const gchar *name);
GOptionContext *g_option_context_new(const gchar *summary);
void g_option_context_free(GOptionContext *context);
void g_option_context_set_description(GOptionContext *context, const gchar *description);
void g_option_context_set_help_enabled(GOptionContext *context, gboolean enabled); /* FALSE; must have been called */
void g_option_context_add_main_entries(GOptionContext *context, const GOptionEntry *entries,
                                       const gchar *domain);                                   /* once */
gchar *g_option_context_get_help(GOptionContext *context, gboolean main_help, gpointer group); /* TRUE, NULL */
/* The entries include G_OPTION_REMAINING, which takes all that is no option; `words` stay as they are. Where it fails,
 * the entries' variables are as they were. */
gboolean g_option_context_parse_strv(GOptionContext *context, gchar ***words, GError **error);

#endif
