/* Memory that is there or ends the program, errors, and a stable sort. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { EXIT_ENVIRONMENT = 3 }; /* as EAB_EXIT_ENVIRONMENT of commands.h */

/* Not exit(): other threads may be running, and what atexit and stdio would do can need memory, too. */
_Noreturn static void end(const char *line) {
    const ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written;
    _exit(EXIT_ENVIRONMENT);
}

_Noreturn static void out_of_memory(gsize bytes) {
    char line[80];
    snprintf(line, sizeof line, "eabench: out of memory: no %zu bytes more\n", bytes);
    end(line);
}

_Noreturn void eab_subset_assertion(const char *file, int line, const char *condition) {
    fprintf(stderr, "eabench: %s:%d: not true: %s\n", file, line, condition);
    abort();
}

gsize eab_subset_sum(gsize a, gsize b) {
    gsize sum;
    if (__builtin_add_overflow(a, b, &sum)) out_of_memory(SIZE_MAX);
    return sum;
}

gsize eab_subset_product(gsize a, gsize b) {
    gsize product;
    if (__builtin_mul_overflow(a, b, &product)) out_of_memory(SIZE_MAX);
    return product;
}

gsize eab_subset_capacity(gsize capacity, gsize needed) {
    enum { LEAST = 16 };
    if (capacity < LEAST) capacity = LEAST;
    while (capacity < needed) capacity = capacity > SIZE_MAX / 2 ? needed : 2 * capacity;
    return capacity;
}

guint eab_subset_length(guint length, guint count) {
    guint sum;
    if (__builtin_add_overflow(length, count, &sum)) end("eabench: an array of more than 4294967295 elements\n");
    return sum;
}

gpointer g_malloc(gsize bytes) {
    if (!bytes) return NULL;
    gpointer block = malloc(bytes);
    if (!block) out_of_memory(bytes);
    return block;
}

gpointer g_malloc0(gsize bytes) {
    if (!bytes) return NULL;
    gpointer block = calloc(1, bytes);
    if (!block) out_of_memory(bytes);
    return block;
}

gpointer g_malloc_n(gsize count, gsize bytes) { return g_malloc(eab_subset_product(count, bytes)); }
gpointer g_malloc0_n(gsize count, gsize bytes) { return g_malloc0(eab_subset_product(count, bytes)); }

gpointer g_realloc(gpointer block, gsize bytes) {
    if (!bytes) {
        free(block);
        return NULL;
    }
    gpointer larger = realloc(block, bytes);
    if (!larger) out_of_memory(bytes);
    return larger;
}

gpointer g_memdup2(gconstpointer bytes, gsize size) {
    if (!bytes || !size) return NULL;
    return memcpy(g_malloc(size), bytes, size);
}

void g_free(gpointer block) { free(block); }

void eab_subset_set_error(GError **error, GQuark domain, gint code, const gchar *format, ...) {
    va_list arguments;
    if (!error) return;
    *error = g_new(GError, 1);
    va_start(arguments, format);
    **error = (GError){domain, code, eab_subset_vprintf(format, arguments, NULL)};
    va_end(arguments);
}

void g_error_free(GError *error) {
    g_free(error->message);
    g_free(error);
}

void g_clear_error(GError **error) {
    if (error && *error) g_error_free(*error);
    if (error) *error = NULL;
}

gboolean g_error_matches(const GError *error, GQuark domain, gint code) {
    return error && error->domain == domain && error->code == code;
}

/* Merges neighbouring runs of 1, 2, 4, ... elements. */
void g_qsort_with_data(gconstpointer array, gint count, gsize bytes, GCompareDataFunc compare, gpointer data) {
    const gsize all = count > 0 ? (gsize)count : 0;
    char *from = (char *)(uintptr_t)array, *spare = g_malloc(eab_subset_product(all, bytes)), *to = spare;
    for (gsize run = 1; run < all; run *= 2) {
        for (gsize begin = 0; begin < all; begin += 2 * run) {
            const gsize middle = MIN(begin + run, all), stop = MIN(begin + 2 * run, all);
            gsize left = begin, right = middle;
            for (gsize i = begin; i < stop; i++) {
                const int take_left =
                    left < middle && (right == stop || compare(from + left * bytes, from + right * bytes, data) <= 0);
                memcpy(to + i * bytes, from + (take_left ? left++ : right++) * bytes, bytes);
            }
        }
        char *const sorted = to;
        to = from;
        from = sorted;
    }
    if (from == spare && all) memcpy(to, from, all * bytes);
    g_free(spare);
}

static gint compare_plainly(gconstpointer a, gconstpointer b, gpointer compare) {
    return (*(const GCompareFunc *)compare)(a, b);
}

void eab_subset_sort(void *base, gsize count, gsize bytes, GCompareFunc compare) {
    g_assert(count <= INT32_MAX);
    g_qsort_with_data(base, (gint)count, bytes, compare_plainly, &compare);
}

void g_usleep(gulong duration) {
    struct timespec left = {.tv_sec = (time_t)(duration / 1000000), .tv_nsec = (long)(duration % 1000000) * 1000};
    while (nanosleep(&left, &left) && errno == EINTR) {
    }
}

gint64 g_get_monotonic_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (gint64)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
