/* gemm: c = op(a) op(b), at given shapes or at those of a model's linear maps, by eabench and by other libraries.
 *
 * A map y = x W of a model has three: y = x W, [rows][out] of [rows][in] and [in][out]; dx = dy W^T, b transposed; and
 * dW = x^T dy, a transposed, whose sums run over the rows. FLOP: 2 m n k; compulsory traffic: a, b and c once.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "check/error_ratio.h"
#include "library.h"
#include "spec/cell_task.h"
#include "tasks/philox.h"

enum { A, B, C, TENSORS };
enum { LEAST_ROWS = 4 };
static const double CHECK_BUDGET = 5e7; /* multiply-adds of a check */

typedef struct {
    eab_gemm gemm; /* without operands */
    const eab_bench_library *library;
    void *handle; /* of the library */
} gemm_problem;

static const char *unsupported(const eab_device *device, const eab_bench_point *point) {
    const eab_bench_library *library = eab_bench_library_at(point->implementation);
    if (!library) return NULL;
    if (device->backend->capacity || device->backend->real_bytes != sizeof(float))
        return "the libraries compute on the processor, in float32";
    return library->unavailable();
}

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

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

static void close_problem(eab_bench_task *task) {
    const gemm_problem *problem = task->own;
    if (problem->handle) problem->library->release(problem->handle);
}

static int open_problem(eab_bench_task *task) {
    gemm_problem *problem = task->own;
    const eab_bench_point *point = task->point;
    const double m = point->m, n = point->n, k = point->k;
    const eab_bench_tensor tensors[TENSORS] = {
        {(int64_t)point->m * point->k, EAB_F32, true, 1},
        {(int64_t)point->k * point->n, EAB_F32, true, 1 / sqrt(k)},
        {(int64_t)point->m * point->n, EAB_F32, false, 0},
    };
    if (task->device->backend->real_bytes != sizeof(float))
        return eab_fail(EAB_UNSUPPORTED, "products are measured in float32 only");
    EAB_TRY(eab_bench_buffers_open(&task->operands, task->device, tensors, TENSORS, task->rotate_bytes));
    task->flop = 2 * m * n * k;
    task->bytes = sizeof(float) * (m * k + k * n + m * n);
    problem->gemm = gemm_of(point);
    problem->library = eab_bench_library_at(point->implementation);
    if (!problem->library || !problem->library->prepare) return EAB_OK;
    return problem->library->prepare(&problem->gemm, &problem->handle);
}

static int run(eab_bench_task *task, int32_t set) {
    const gemm_problem *problem = task->own;
    eab_gemm gemm = problem->gemm;
    gemm.a.data = eab_bench_buffer(&task->operands, set, A);
    gemm.b.data = eab_bench_buffer(&task->operands, set, B);
    gemm.c.data = eab_bench_buffer(&task->operands, set, C);
    if (!problem->library) return task->device->backend->gemm(task->device, &gemm);
    problem->library->product(problem->handle, &gemm);
    return EAB_OK;
}

/* ---- the check -------------------------------------------------------------------------------------------------- */

/* Row `row` of c, compared with float64 and with the same loop in float32. x: a, b and c on the host. */
static void compare_row(const eab_gemm *g, double *const *x, int32_t row, eab_error_sums *sums) {
    const int64_t a_row = g->transpose_a ? 1 : g->lda, a_k = g->transpose_a ? g->lda : 1;
    const int64_t b_k = g->transpose_b ? 1 : g->ldb, b_column = g->transpose_b ? g->ldb : 1;
    for (int32_t column = 0; column < g->n; column++) {
        double exact = 0;
        float plain = 0;
        for (int32_t k = 0; k < g->k; k++) {
            const double a = x[A][row * a_row + k * a_k], b = x[B][k * b_k + column * b_column];
            exact += a * b;
            plain += (float)a * (float)b;
        }
        eab_error_add(sums, x[C][(int64_t)row * g->ldc + column], (double)plain, exact, 0);
    }
}

static int read_operands(const eab_bench_buffers *buffers, double **x) {
    for (int i = 0; i < TENSORS; i++) {
        x[i] = calloc((size_t)buffers->tensors[i].count, sizeof(double));
        if (!x[i]) return eab_fail(EAB_NO_MEMORY, "no memory to check a product");
        EAB_TRY(eab_bench_read(buffers, i, 0, buffers->tensors[i].count, x[i]));
    }
    return EAB_OK;
}

/* All rows of c where that is affordable, else some random rows and the last one. */
static int check(eab_bench_task *task, eab_check_result *result) {
    const gemm_problem *problem = task->own;
    const eab_gemm *g = &problem->gemm;
    double *x[TENSORS] = {NULL};
    eab_error_sums sums = {0};
    EAB_TRY(run(task, 0));
    EAB_TRY(task->device->backend->synchronize(task->device));
    const int status = read_operands(&task->operands, x);
    const double affordable = CHECK_BUDGET / ((double)g->n * g->k);
    const int32_t rows = (int32_t)fmin(g->m, fmax(LEAST_ROWS, affordable));
    eab_random random = eab_random_at(20240718, 3, (uint32_t)g->m, (uint32_t)g->n, (uint32_t)g->k);
    for (int32_t i = 0; i < rows && !status; i++) {
        const int32_t any = rows == g->m ? i : eab_random_below(&random, g->m);
        compare_row(g, x, i == rows - 1 ? g->m - 1 : any, &sums);
    }
    for (int i = 0; i < TENSORS; i++) free(x[i]);
    *result = (eab_check_result){.error_ratio = eab_error_ratio(&sums, 0x1p-24), .bound = EAB_BOUND_FORWARD};
    return status;
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

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
        product.label = eab_bench_label(g_strdup_printf("d_model %d %s %s", config->d_model, name, products[i].what));
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

const eab_bench_operation eab_bench_gemm = {
    .name = "gemm",
    .summary = "products of matrices, free or those of a model's linear maps",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N) | EAB_AXIS_BIT(K) | EAB_AXIS_BIT(TRANSPOSE),
    .implementations = 1 << EAB_BENCH_EABENCH | 1 << EAB_BENCH_OPENBLAS | 1 << EAB_BENCH_LIBXSMM,
    .model_points = model_points,
    .own_bytes = sizeof(gemm_problem),
    .unsupported = unsupported,
    .open = open_problem,
    .run = run,
    .check = check,
    .close = close_problem,
};
