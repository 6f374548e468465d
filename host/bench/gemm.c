/* gemm: c = op(a) op(b), at free shapes or at those of a model's linear maps, by our product and by libraries.
 *
 * A map y = x W of a model has three: y = x W, [rows][out] of [rows][in] and [in][out]; dx = dy W^T, b transposed; and
 * dW = x^T dy, a transposed, whose sums run over the rows. FLOP: 2 m n k; compulsory traffic: a, b and c once.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "library.h"
#include "operation.h"
#include "spec/cell_task.h"
#include "tasks/philox.h"

enum { A, B, C, TENSORS };
enum { LEAST_ROWS = 4 };
static const double CHECK_BUDGET = 5e7; /* multiply-adds of a check */

typedef struct {
    eab_gemm gemm; /* of set 0 */
    const eab_bench_library *library;
    void *handle;
    eab_bench_buffers buffers;
} gemm_problem;

static const char *name_of(const eab_bench_point *point) {
    return eab_bench_axes[EAB_AXIS_IMPLEMENTATION].choices[point->implementation];
}

static eab_gemm gemm_of(const eab_bench_point *point) {
    const bool a = point->transpose == EAB_BENCH_TRANSPOSE_A, b = point->transpose == EAB_BENCH_TRANSPOSE_B;
    return (eab_gemm){.members = 1,
                      .m = point->m,
                      .n = point->n,
                      .k = point->k,
                      .lda = a ? point->m : point->k,
                      .ldb = b ? point->k : point->n,
                      .ldc = point->n,
                      .transpose_a = a,
                      .transpose_b = b};
}

static const char *unsupported(const eab_device *device, const eab_bench_point *point) {
    const eab_bench_library *library = eab_bench_library_from_name(name_of(point));
    if (!library) return strcmp(name_of(point), "eabench") == 0 ? NULL : "no such library";
    if (device->backend->capacity || device->backend->real_bytes != sizeof(float))
        return "the libraries compute on the processor, in float32";
    return library->unavailable();
}

static void close_problem(eab_bench_task *task) {
    gemm_problem *problem = task->own;
    if (!problem) return;
    if (problem->handle) problem->library->release(problem->handle);
    eab_bench_buffers_close(&problem->buffers);
    free(problem);
    task->own = NULL;
}

static int prepare(eab_bench_task *task, gemm_problem *problem) {
    const eab_bench_point *point = task->point;
    const double m = point->m, n = point->n, k = point->k;
    const eab_bench_tensor tensors[TENSORS] = {
        {(int64_t)point->m * point->k, EAB_F32, true, 1},
        {(int64_t)point->k * point->n, EAB_F32, true, 1 / sqrt(k)},
        {(int64_t)point->m * point->n, EAB_F32, false, 0},
    };
    problem->gemm = gemm_of(point);
    problem->library = eab_bench_library_from_name(name_of(point));
    EAB_TRY(eab_bench_buffers_open(&problem->buffers, task->device, tensors, TENSORS, task->rotate_bytes, 0));
    task->sets = problem->buffers.sets;
    task->set_bytes = problem->buffers.set_bytes;
    task->flop = 2 * m * n * k;
    task->bytes = sizeof(float) * (m * k + k * n + m * n);
    if (!problem->library || !problem->library->prepare) return EAB_OK;
    return problem->library->prepare(&problem->gemm, &problem->handle);
}

static int open_problem(eab_bench_task *task) {
    if (task->device->backend->real_bytes != sizeof(float))
        return eab_fail(EAB_UNSUPPORTED, "products are measured in float32 only");
    task->own = calloc(1, sizeof(gemm_problem));
    if (!task->own) return eab_fail(EAB_NO_MEMORY, "no memory for a product");
    const int status = prepare(task, task->own);
    if (status) close_problem(task);
    return status;
}

static int run(eab_bench_task *task, int32_t set) {
    const gemm_problem *problem = task->own;
    eab_gemm gemm = problem->gemm;
    gemm.a.data = eab_bench_buffer(&problem->buffers, set, A);
    gemm.b.data = eab_bench_buffer(&problem->buffers, set, B);
    gemm.c.data = eab_bench_buffer(&problem->buffers, set, C);
    if (!problem->library) return task->device->backend->gemm(task->device, &gemm);
    problem->library->product(problem->handle, &gemm);
    return EAB_OK;
}

/* ---- the check ----------------------------------------------------------------------------------------------- */

typedef struct {
    double *a, *b, *c;
} host_operands;

/* Row `row` of c in float64 and, as a plain program would compute it, in float32; sums of squares. */
static void compare_row(const eab_gemm *g, const host_operands *x, int32_t row, double *error, double *plain_error,
                        double *terms) {
    const int64_t a_row = g->transpose_a ? 1 : g->lda, a_k = g->transpose_a ? g->lda : 1;
    const int64_t b_k = g->transpose_b ? 1 : g->ldb, b_column = g->transpose_b ? g->ldb : 1;
    for (int32_t column = 0; column < g->n; column++) {
        double exact = 0;
        float plain = 0;
        for (int32_t k = 0; k < g->k; k++) {
            const double a = x->a[row * a_row + k * a_k], b = x->b[k * b_k + column * b_column];
            exact += a * b;
            plain += (float)a * (float)b;
        }
        const double tested = x->c[(int64_t)row * g->ldc + column];
        *error += (tested - exact) * (tested - exact);
        *plain_error += ((double)plain - exact) * ((double)plain - exact);
        *terms += exact * exact;
    }
}

/* All rows of c where that is affordable, else some of them, anywhere, and the last. */
static int check(eab_bench_task *task, double *ratio, double *bound) {
    const gemm_problem *problem = task->own;
    const eab_gemm *g = &problem->gemm;
    host_operands x = {malloc((size_t)g->m * (size_t)g->k * sizeof(double)),
                       malloc((size_t)g->k * (size_t)g->n * sizeof(double)),
                       malloc((size_t)g->m * (size_t)g->n * sizeof(double))};
    double error = 0, plain_error = 0, terms = 0;
    int status = x.a && x.b && x.c ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory to check a product");
    if (!status) status = run(task, 0);
    if (!status) status = task->device->backend->synchronize(task->device);
    if (!status) status = eab_bench_read(&problem->buffers, 0, A, 0, (int64_t)g->m * g->k, x.a);
    if (!status) status = eab_bench_read(&problem->buffers, 0, B, 0, (int64_t)g->k * g->n, x.b);
    if (!status) status = eab_bench_read(&problem->buffers, 0, C, 0, (int64_t)g->m * g->n, x.c);
    const double affordable = CHECK_BUDGET / ((double)g->n * g->k);
    const int32_t rows = (int32_t)fmin(g->m, fmax(LEAST_ROWS, affordable));
    eab_random random = eab_random_at(20240718, 3, (uint32_t)g->m, (uint32_t)g->n, (uint32_t)g->k);
    for (int32_t i = 0; i < rows && !status; i++) {
        const int32_t any = rows == g->m ? i : eab_random_below(&random, g->m);
        compare_row(g, &x, i == rows - 1 ? g->m - 1 : any, &error, &plain_error, &terms);
    }
    free(x.a);
    free(x.b);
    free(x.c);
    *bound = 2;
    *ratio = error == 0 ? 0 : sqrt(error) / fmax(sqrt(plain_error), 0x1p-24 * sqrt(terms));
    return status;
}

/* ---- models -------------------------------------------------------------------------------------------------- */

static void add_map(const eab_bench_point *point, const eab_config *config, const char *name, int32_t rows, int32_t in,
                    int32_t out, GArray *points) {
    const struct {
        const char *what;
        int32_t m, n, k, transpose;
    } products[] = {{"y", rows, out, in, EAB_BENCH_TRANSPOSE_NONE},
                    {"dx", rows, in, out, EAB_BENCH_TRANSPOSE_B},
                    {"dW", in, out, rows, EAB_BENCH_TRANSPOSE_A}};
    for (size_t i = 0; i < G_N_ELEMENTS(products) && in > 0 && out > 0; i++) {
        eab_bench_point product = *point;
        product.m = products[i].m;
        product.n = products[i].n;
        product.k = products[i].k;
        product.transpose = products[i].transpose;
        snprintf(product.label, sizeof product.label, "d_model %d %s %s", config->d_model, name, products[i].what);
        g_array_append_val(points, product);
    }
}

static void model_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    const int32_t d_model = config->d_model, mlp_dim = config->mlp_ratio * d_model;
    add_map(point, config, "qkv", rows, d_model, 3 * d_model, points);
    add_map(point, config, "out", rows, d_model, d_model, points);
    add_map(point, config, "up", rows, d_model, mlp_dim, points);
    add_map(point, config, "down", rows, mlp_dim, d_model, points);
    add_map(point, config, "head", rows, d_model, eab_config_vocab(config), points);
}

static const char *const implementations[] = {"eabench", "openblas", "libxsmm", NULL};

extern const eab_bench_operation eab_bench_gemm;
const eab_bench_operation eab_bench_gemm = {
    .name = "gemm",
    .summary = "products of matrices, free or those of a model's linear maps",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N) | EAB_AXIS_BIT(K) | EAB_AXIS_BIT(TRANSPOSE),
    .implementations = implementations,
    .model_points = model_points,
    .unsupported = unsupported,
    .open = open_problem,
    .run = run,
    .check = check,
    .close = close_problem,
};
