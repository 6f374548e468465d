#include "geometry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/reference/attention.h"

static const double BIN_DEGREES = 180.0 / EAB_GEOMETRY_BINS;

static double dot(const double *x, const double *y, int32_t count) {
    double sum = 0;
    for (int32_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

/* A vector of length 0 counts as orthogonal, because its score is 0. */
static int bin_of(double product, double lengths) {
    const double cosine = lengths > 0 ? fmin(1, fmax(-1, product / lengths)) : 0;
    const int bin = (int)(acos(cosine) * (180 / 3.14159265358979323846) / BIN_DEGREES);
    return bin < EAB_GEOMETRY_BINS ? bin : EAB_GEOMETRY_BINS - 1;
}

static void add_lengths(eab_geometry_sums *sums, double query, double key) {
    sums->query += query;
    sums->query_square += query * query;
    sums->key += key;
    sums->key_square += key * key;
    sums->vectors++;
}

static void add_spread(eab_geometry_sums *sums, const double *attention, int32_t keys) {
    if (keys < 2) return;
    double entropy = 0;
    for (int32_t j = 0; j < keys; j++)
        if (attention[j] > 0) entropy -= attention[j] * log(attention[j]);
    sums->entropy += entropy;
    sums->entropy_share += entropy / log(keys);
    sums->open_rows++;
}

/* positions: [context], scratch. */
static void add_determining(eab_geometry_sums *sums, const eab_geometry_sequence *sequence, int32_t time,
                            const double *attention, uint8_t *positions) {
    const eab_task *task = eab_task_at(sequence->level->family);
    if (!task->determining || !sequence->determined[time] || time < sequence->cued) return;
    memset(positions, 0, (size_t)time + 1);
    const int32_t cued = sequence->cued;
    task->determining(sequence->level, sequence->tokens + cued, time + 1 - cued, positions + cued);
    for (int32_t j = 0; j <= time; j++) sums->determining += positions[j] ? attention[j] : 0;
    sums->determined_rows++;
}

int eab_geometry_add(eab_geometry_sums *sums, const eab_attention_args *args, int32_t head, const double *q,
                     const double *k, const eab_geometry_sequence *sequence, float *map) {
    const int32_t context = args->context, head_dim = args->head_dim;
    double *attention = malloc(2 * (size_t)context * sizeof *attention);
    uint8_t *positions = malloc((size_t)context);
    int status = attention && positions ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a row of %d keys", context);
    double *lengths = attention + context; /* of the keys so far */
    if (map) memset(map, 0, (size_t)context * (size_t)context * sizeof *map);
    for (int32_t time = 0; time < context && !status; time++) {
        const double *query = q + head * args->in_head + time * args->in_time;
        const double *keys = k + head * args->in_head, *own = keys + time * args->in_time;
        const double length = sqrt(dot(query, query, head_dim));
        const int32_t count = time + 1; /* causal */
        lengths[time] = sqrt(dot(own, own, head_dim));
        status = eab_reference_attention_row_weights(args, 0, 0, head, time, q, k, attention);
        if (status) break;
        for (int32_t j = 0; j < count; j++) {
            const int bin = bin_of(dot(query, keys + j * args->in_time, head_dim), length * lengths[j]);
            sums->density[bin]++;
            sums->mass[bin] += attention[j];
            if (map) map[(int64_t)time * context + j] = (float)attention[j];
        }
        sums->pairs += count;
        sums->rows++;
        add_lengths(sums, length, lengths[time]);
        add_spread(sums, attention, count);
        add_determining(sums, sequence, time, attention, positions);
    }
    free(attention);
    free(positions);
    return status;
}

static double quotient(double sum, double count) { return count > 0 ? sum / count : NAN; }

/* fmax: where all values are equal, rounding may make the difference negative. */
static double deviation(double sum, double square_sum, double count) {
    const double mean = quotient(sum, count);
    return sqrt(fmax(0, quotient(square_sum, count) - mean * mean));
}

void eab_geometry_finish(const eab_geometry_sums *sums, eab_geometry_head *head) {
    for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++) {
        head->angle_density[bin] = quotient(sums->density[bin], sums->pairs);
        head->angle_mass[bin] = quotient(sums->mass[bin], sums->rows);
    }
    head->row_entropy_nats = quotient(sums->entropy, sums->open_rows);
    head->row_entropy_share = quotient(sums->entropy_share, sums->open_rows);
    head->determining_mass = quotient(sums->determining, sums->determined_rows);
    head->query_norm = quotient(sums->query, sums->vectors);
    head->query_norm_sd = deviation(sums->query, sums->query_square, sums->vectors);
    head->key_norm = quotient(sums->key, sums->vectors);
    head->key_norm_sd = deviation(sums->key, sums->key_square, sums->vectors);
}
