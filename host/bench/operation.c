#include "operation.h"

#include <string.h>

#include "base/suggest.h"
#include "kernels/mechanism.h"

enum { LARGEST = 1 << 20 };

static const char *const op_names[] = {
#define EAB_BENCH_NAME(identifier, name) #name,
    EAB_BENCH_OPERATION_LIST(EAB_BENCH_NAME)
#undef EAB_BENCH_NAME
        NULL};
static const char *const mechanisms[] = {
#define EAB_BENCH_NAME(identifier, name, class_name, scale, formula) name,
    EAB_MECHANISM_LIST(EAB_BENCH_NAME)
#undef EAB_BENCH_NAME
        NULL};
static const char *const implementations[EAB_BENCH_IMPLEMENTATION_COUNT + 1] = {[EAB_BENCH_FUSED] = "fused",
                                                                                [EAB_BENCH_UNFUSED] = "unfused",
                                                                                [EAB_BENCH_EABENCH] = "eabench",
                                                                                [EAB_BENCH_OPENBLAS] = "openblas",
                                                                                [EAB_BENCH_LIBXSMM] = "libxsmm"};
static const char *const passes[] = {"forward", "backward", NULL};
static const char *const dtypes[] = {[EAB_F32] = "float32", [EAB_BF16] = "bf16", [EAB_F16] = "fp16", NULL};
static const char *const switches[] = {"off", "on", NULL};
static const char *const positions[] = {"none", "alibi", NULL};
static const char *const transposes[] = {"none", "a", "b", NULL};

#define AXIS(axis_, field_, key_, kind_, ...) \
    [axis_] = {.section = "bench", .key = key_, .kind = kind_, .offset = offsetof(eab_bench_point, field_), __VA_ARGS__}
#define CHOICE(axis, field, key, choices_, help_) \
    AXIS(axis, field, key, EAB_OPTION_CHOICE, .choices = choices_, .help = help_)
#define NUMBER(axis, field, key, maximum_, help_) \
    AXIS(axis, field, key, EAB_OPTION_INT32, .minimum = 1, .maximum = maximum_, .help = help_)

const eab_option eab_bench_axes[EAB_AXIS_COUNT] = {
    CHOICE(EAB_AXIS_OP, op, "op", op_names, "what is measured"),
    CHOICE(EAB_AXIS_MECHANISM, mechanism, "mechanism", mechanisms, "how attention weighs a score"),
    CHOICE(EAB_AXIS_POSITION, position, "position", positions, "position bias of attention"),
    CHOICE(EAB_AXIS_CAUSAL, causal, "causal", switches, "attention to earlier keys only"),
    NUMBER(EAB_AXIS_HEAD_DIM, head_dim, "head-dim", 256, "width of a head"),
    NUMBER(EAB_AXIS_BATCH, batch, "batch", LARGEST, "sequences"),
    NUMBER(EAB_AXIS_HEADS, heads, "heads", LARGEST, "heads"),
    NUMBER(EAB_AXIS_CONTEXT, context, "context", LARGEST, "positions of a sequence"),
    NUMBER(EAB_AXIS_M, m, "m", LARGEST, "rows of a product; rows of norm and loss"),
    NUMBER(EAB_AXIS_N, n, "n", LARGEST, "columns of a product; width of norm, words of loss, weights of optimizer"),
    NUMBER(EAB_AXIS_K, k, "k", LARGEST, "length of a product's sums"),
    CHOICE(EAB_AXIS_TRANSPOSE, transpose, "transpose", transposes, "operand stored transposed"),
    CHOICE(EAB_AXIS_PASS, pass, "pass", passes, "of attention and norm"),
    CHOICE(EAB_AXIS_DTYPE, dtype, "dtype", dtypes, "of the operands"),
    CHOICE(EAB_AXIS_IMPLEMENTATION, implementation, "implementation", implementations, "whose code"),
};

/* ---- points ----------------------------------------------------------------------------------------------------- */

int eab_bench_axis_from_name(const char *name) {
    char *key = g_strdelimit(g_strdup(name), "_", '-');
    int axis = EAB_AXIS_COUNT - 1;
    while (axis >= 0 && strcmp(eab_bench_axes[axis].key, key) != 0) axis--;
    g_free(key);
    return axis;
}

const char *eab_bench_label(char *text) {
    const char *label = g_intern_string(text);
    g_free(text);
    return label;
}

int32_t eab_bench_get(eab_bench_axis axis, const eab_bench_point *point) {
    return *(const int32_t *)(const void *)((const char *)point + eab_bench_axes[axis].offset);
}

void eab_bench_set(eab_bench_axis axis, eab_bench_point *point, int32_t value) {
    *(int32_t *)(void *)((char *)point + eab_bench_axes[axis].offset) = value;
}

void eab_bench_print(eab_bench_axis axis, const eab_bench_point *point, char *text, size_t size) {
    const int32_t value = eab_bench_get(axis, point);
    if (value == EAB_BENCH_NOT_AN_AXIS) text[0] = '\0';
    else eab_option_print_value(&eab_bench_axes[axis], value, text, size);
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

static int run_nothing(eab_bench_task *task, int32_t set) {
    (void)task;
    (void)set;
    return EAB_OK;
}

const eab_bench_operation eab_bench_nothing = {
    .name = "nothing",
    .summary = "an empty call: what the harness adds to every other",
    .implementations = 1 << EAB_BENCH_EABENCH,
    .run = run_nothing,
};

static const eab_bench_operation *const operations[] = {
#define EAB_BENCH_ENTRY(identifier, name) &eab_bench_##name,
    EAB_BENCH_OPERATION_LIST(EAB_BENCH_ENTRY)
#undef EAB_BENCH_ENTRY
};

const eab_bench_operation *eab_bench_operation_at(int op) { return operations[op]; }

bool eab_bench_has_axis(const eab_bench_operation *operation, eab_bench_axis axis) {
    return axis == EAB_AXIS_OP || axis == EAB_AXIS_IMPLEMENTATION || (operation->axes >> axis & 1);
}

void eab_bench_list_implementations(const eab_bench_operation *operation, char *text, size_t size) {
    const char *names[EAB_BENCH_IMPLEMENTATION_COUNT + 1] = {NULL};
    for (int i = 0, count = 0; i < EAB_BENCH_IMPLEMENTATION_COUNT; i++)
        if (operation->implementations >> i & 1) names[count++] = implementations[i];
    eab_join(names, text, size);
}

int eab_bench_task_open(eab_bench_task *task, eab_device *device, const eab_bench_point *point, size_t rotate_bytes) {
    const eab_bench_operation *operation = operations[point->op];
    *task = (eab_bench_task){
        .device = device, .point = point, .operation = operation, .rotate_bytes = rotate_bytes, .operands.sets = 2};
    const char *unsupported = operation->unsupported ? operation->unsupported(device, point) : NULL;
    if (unsupported) return eab_fail(EAB_UNSUPPORTED, "%s", unsupported);
    task->own = g_malloc0(operation->own_bytes);
    const int status = operation->open ? operation->open(task) : EAB_OK;
    if (status) eab_bench_task_close(task);
    return status;
}

void eab_bench_task_close(eab_bench_task *task) {
    if (task->operation->close) task->operation->close(task);
    eab_bench_buffers_close(&task->operands);
    g_free(task->own);
}
