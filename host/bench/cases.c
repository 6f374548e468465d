#include "cases.h"

#include <stdio.h>
#include <string.h>

#include "base/suggest.h"
#include "model/network.h"
#include "plan/cells.h"
#include "spec/identity.h"
#include "spec/range.h"
#include "tasks/task.h"

/* What is measured by default. To add a case: one entry. Words are separated by blanks. `axes` has a value, list or
 * range for every axis of the operation; with `models`, options of models give the shapes instead. */
typedef struct {
    eab_bench_op op;
    const char *tags, *axes, *models;
} bench_case;

static const bench_case cases[] = {
    {EAB_BENCH_ATTENTION, " default ",
     "mechanism=dpa,ea position=none causal=on head-dim=64 batch=1 heads=4 context=128:2048:*4 pass=forward,backward "
     "dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_ATTENTION, " default quick ", /* the models of the quick ladder */
     "mechanism=dpa,ea position=alibi causal=on head-dim=8 batch=32 heads=4 context=24 pass=forward,backward "
     "dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_ATTENTION, " models ",
     "mechanism=dpa,ea,ea-scaled,ea-softmax position=alibi causal=on head-dim=4,8,16 batch=32 heads=4 context=32 "
     "pass=forward,backward dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_ATTENTION, " long ",
     "mechanism=dpa,ea,ea-scaled,ea-softmax position=none causal=on head-dim=16:128:*2 batch=1 heads=1 "
     "context=64:8192:*2 pass=forward,backward dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_GEMM, " default quick ", "m=256,1024 n=1024 k=1024 transpose=none implementation=eabench,openblas",
     NULL},
    {EAB_BENCH_GEMM, " default quick ", "implementation=eabench,openblas", "model.d_model=32"},
    {EAB_BENCH_GEMM, " models ", "implementation=eabench,openblas,libxsmm", "model.d_model=16,32,64 model.context=32"},
    {EAB_BENCH_GEMM, " models ", "m=1024 n=1024 k=1024 transpose=none,a,b implementation=eabench,openblas,libxsmm",
     NULL},
    {EAB_BENCH_GEMM, " gpu ", "m=1024:8192:*2 n=4096 k=4096 transpose=none,a,b implementation=eabench", NULL},
    {EAB_BENCH_NORM, " default quick models ", "pass=forward,backward implementation=eabench",
     "model.d_model=16,32,64"},
    {EAB_BENCH_NORM, " gpu default ", "m=4096 n=1024 pass=forward,backward implementation=eabench", NULL},
    {EAB_BENCH_LOSS, " default quick models ", "implementation=eabench", "task.basis=8,16"},
    {EAB_BENCH_LOSS, " gpu default ", "m=4096 n=1024 implementation=eabench", NULL},
    {EAB_BENCH_OPTIMIZER, " default quick models ", "implementation=eabench", "model.d_model=16,32,64"},
    {EAB_BENCH_OPTIMIZER, " gpu default ", "n=1048576 implementation=eabench", NULL},
    {EAB_BENCH_STEP, " default quick ", "mechanism=dpa,ea implementation=eabench", "model.alibi_span=4"},
    {EAB_BENCH_STEP, " models gpu ", "mechanism=dpa,ea implementation=eabench",
     "model.d_model=16,32,64 model.layers=1,2 model.context=32"},
    {EAB_BENCH_NOTHING, " default quick ", "implementation=eabench", NULL},
    {EAB_BENCH_ATTENTION, " gpu ",
     "mechanism=dpa,ea position=none causal=on head-dim=64,128 batch=4 heads=16 context=512:16384:*2 "
     "pass=forward,backward dtype=float32,bf16,fp16 implementation=fused,unfused",
     NULL},
};

static const char *const tags[] = {"default", "quick", "models", "long", "gpu", NULL};

const char *const *eab_bench_tags(void) { return tags; }

/* ---- the request ------------------------------------------------------------------------------------------------ */

static int parse_axis(eab_bench_axis axis, const char *text, const char *where, GArray **values) {
    *values = g_array_new(FALSE, FALSE, sizeof(double));
    const int status = eab_range_parse(&eab_bench_axes[axis], text, where, *values);
    if (status) g_clear_pointer(values, g_array_unref);
    return status;
}

int eab_bench_request_axis(eab_bench_request *request, int axis, const char *text) {
    char where[160], shown[120];
    snprintf(where, sizeof where, "--%s %s", eab_bench_axes[axis].key, eab_excerpt(text, 80, shown, sizeof shown));
    g_clear_pointer(&request->values[axis], g_array_unref);
    return parse_axis((eab_bench_axis)axis, text, where, &request->values[axis]);
}

void eab_bench_request_free(eab_bench_request *request) {
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++) g_clear_pointer(&request->values[axis], g_array_unref);
}

/* ---- points ----------------------------------------------------------------------------------------------------- */

/* Every axis, the label and the model in one line: equal for equal points only. */
static char *key_of(const eab_bench_point *point) {
    GString *key = g_string_new(point->label);
    char value[32];
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        g_string_append_printf(key, ",%d", eab_bench_get((eab_bench_axis)axis, point));
    if (point->config) {
        eab_config_id(point->config, value);
        g_string_append_printf(key, ",%s", value);
    }
    return g_string_free(key, FALSE);
}

typedef struct {
    eab_bench_plan *plan;
    GHashTable *seen; /* keys of the points in the plan */
    const eab_bench_operation *operation;
    GArray *values[EAB_AXIS_COUNT]; /* of the current case; NULL: no axis of the operation */
} plan_maker;

static int add_point(plan_maker *maker, const eab_bench_point *point) {
    char *key = key_of(point);
    if (!g_hash_table_add(maker->seen, key)) return EAB_OK; /* the table frees a key that it has */
    if (maker->plan->points->len == EAB_BENCH_MAX_POINTS)
        return eab_fail(EAB_BAD_INPUT, "more than %d rows; allowed: at most so many", EAB_BENCH_MAX_POINTS);
    g_array_append_val(maker->plan->points, *point);
    return EAB_OK;
}

static bool offers(const eab_bench_operation *operation, double implementation) {
    return operation->implementations >> (int)implementation & 1;
}

/* Adds the product of the axes from `axis` on. */
static int multiply(plan_maker *maker, int axis, eab_bench_point *point) {
    while (axis < EAB_AXIS_COUNT && !maker->values[axis]) axis++;
    if (axis == EAB_AXIS_COUNT) return add_point(maker, point);
    for (guint i = 0; i < maker->values[axis]->len; i++) {
        const double value = g_array_index(maker->values[axis], double, i);
        if (axis == EAB_AXIS_IMPLEMENTATION && !offers(maker->operation, value)) continue;
        eab_bench_set((eab_bench_axis)axis, point, (int32_t)value);
        EAB_TRY(multiply(maker, axis + 1, point));
    }
    return EAB_OK;
}

/* The case's values, with those of the request in their place. */
static int read_case(plan_maker *maker, const bench_case *entry, const eab_bench_request *request) {
    char **words = g_strsplit(entry->axes, " ", -1);
    int status = EAB_OK;
    for (char **word = words; *word && !status; word++) {
        char *equals = strchr(*word, '=');
        if (!equals) continue;
        *equals = '\0';
        const int axis = eab_bench_axis_from_name(*word);
        status = parse_axis((eab_bench_axis)axis, equals + 1, "case", &maker->values[axis]);
    }
    g_strfreev(words);
    for (int axis = EAB_AXIS_OP + 1; axis < EAB_AXIS_COUNT; axis++) {
        if (!request->values[axis] || !eab_bench_has_axis(maker->operation, (eab_bench_axis)axis)) continue;
        if (maker->values[axis]) g_array_unref(maker->values[axis]);
        maker->values[axis] = g_array_ref(request->values[axis]);
    }
    return status;
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

/* The models: cells of a sweep of one task, with the case's options, and those of the request in their place. */
static int list_models(const bench_case *entry, const eab_bench_request *request, eab_plan *models) {
    char *task = g_strdup_printf("[task %s]\n", eab_task_at(0)->name), **own = g_strsplit(entry->models, " ", -1);
    GPtrArray *sets = g_ptr_array_new();
    eab_spec spec;
    for (char **set = own; *set; set++) g_ptr_array_add(sets, *set);
    for (const char *const *set = request->sets; set && *set; set++) g_ptr_array_add(sets, (char *)(uintptr_t)*set);
    g_ptr_array_add(sets, NULL);
    int status = eab_spec_parse("--set", task, strlen(task), (const char *const *)sets->pdata, &spec);
    if (!status) {
        status = eab_plan_make("--set", &spec, models);
        eab_spec_free(&spec);
    }
    g_ptr_array_unref(sets);
    g_strfreev(own);
    g_free(task);
    return status;
}

/* The points at which the models have the operation, multiplied by the case's other axes. */
static int add_models(plan_maker *maker, const bench_case *entry, const eab_bench_request *request,
                      const eab_bench_point *point) {
    const eab_backend *backend = eab_backend_from_name(request->backend);
    GArray *points = g_array_new(FALSE, FALSE, sizeof(eab_bench_point));
    eab_plan models;
    int status = list_models(entry, request, &models);
    for (int64_t i = 0; !status && i < models.count; i++) {
        eab_config *config = g_memdup2(&models.cells[i].config, sizeof *config);
        g_ptr_array_add(maker->plan->configs, config);
        const int32_t rows = eab_model_micro_batch(backend, config) * config->context;
        maker->operation->model_points(config, rows, point, points);
    }
    if (!status) eab_plan_free(&models);
    for (guint i = 0; i < points->len && !status; i++)
        status = multiply(maker, EAB_AXIS_OP + 1, &g_array_index(points, eab_bench_point, i));
    g_array_unref(points);
    return status;
}

/* ---- cases ------------------------------------------------------------------------------------------------------ */

static int add_case(plan_maker *maker, const bench_case *entry, const eab_bench_request *request) {
    eab_bench_point point = {.label = ""};
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        eab_bench_set((eab_bench_axis)axis, &point, EAB_BENCH_NOT_AN_AXIS);
    point.op = (int32_t)entry->op;
    int status = read_case(maker, entry, request);
    if (!status && entry->models) status = add_models(maker, entry, request, &point);
    else if (!status) status = multiply(maker, EAB_AXIS_OP + 1, &point);
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++) g_clear_pointer(&maker->values[axis], g_array_unref);
    return status;
}

/* Whether the axis is not given, or lists the value. */
static bool allows(const GArray *values, double value) {
    for (guint i = 0; values && i < values->len; i++)
        if (g_array_index(values, double, i) == value) return true;
    return !values;
}

/* Whether the operation has every given axis and one of the given implementations. */
static bool fits(const eab_bench_operation *operation, const eab_bench_request *request) {
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        if (request->values[axis] && !eab_bench_has_axis(operation, (eab_bench_axis)axis)) return false;
    for (int i = 0; i < EAB_BENCH_IMPLEMENTATION_COUNT; i++)
        if (offers(operation, i) && allows(request->values[EAB_AXIS_IMPLEMENTATION], i)) return true;
    return false;
}

/* Whether an axis or option is given that changes a case. */
static bool changes(const eab_bench_request *request) {
    for (int axis = EAB_AXIS_OP + 1; axis < EAB_AXIS_COUNT; axis++)
        if (request->values[axis] && axis != EAB_AXIS_IMPLEMENTATION && axis != EAB_AXIS_DTYPE) return true;
    return request->sets != NULL;
}

/* Whether an axis is given that a model would determine. */
static bool gives_shape(const eab_bench_operation *operation, const eab_bench_request *request) {
    static const eab_bench_axis shape[] = {EAB_AXIS_M, EAB_AXIS_N, EAB_AXIS_K, EAB_AXIS_TRANSPOSE};
    for (size_t i = 0; i < G_N_ELEMENTS(shape); i++)
        if (request->values[shape[i]] && eab_bench_has_axis(operation, shape[i])) return true;
    return false;
}

static bool has_tag(const bench_case *entry, const char *tag) {
    char *word = g_strdup_printf(" %s ", tag);
    const bool found = strstr(entry->tags, word);
    g_free(word);
    return found;
}

static int check_tag(const char *tag) {
    char allowed[128], shown[80];
    if (g_strv_contains((const gchar *const *)tags, tag)) return EAB_OK;
    eab_join(tags, allowed, sizeof allowed);
    return eab_fail(EAB_BAD_INPUT, "--tag %s: no such tag; nearest: %s; allowed: %s",
                    eab_excerpt(tag, 60, shown, sizeof shown), eab_suggest(tag, tags), allowed);
}

/* Reports that no case is left, with what is allowed. */
static int refuse_nothing(const eab_bench_request *request, const char *tag) {
    GString *given = g_string_new(NULL);
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        if (request->values[axis]) g_string_append_printf(given, " --%s", eab_bench_axes[axis].key);
    if (request->sets) g_string_append(given, " --set");
    GString *allowed = g_string_new(NULL);
    for (int op = 0; op < EAB_BENCH_OP_COUNT; op++) {
        const eab_bench_operation *operation = eab_bench_operation_at(op);
        if (!allows(request->values[EAB_AXIS_OP], op)) continue;
        char words[128];
        eab_bench_list_implementations(operation, words, sizeof words);
        g_string_append_printf(allowed, "%s--op %s with implementation %s and", allowed->len ? "; " : "",
                               operation->name, words);
        for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
            if (operation->axes >> axis & 1) g_string_append_printf(allowed, " --%s", eab_bench_axes[axis].key);
        if (operation->model_points) g_string_append(allowed, " --set");
    }
    const int status =
        eab_fail(EAB_BAD_INPUT, "tag %s: nothing is left to measure by%s; allowed: %s", tag, given->str, allowed->str);
    g_string_free(given, TRUE);
    g_string_free(allowed, TRUE);
    return status;
}

static int make(plan_maker *maker, const eab_bench_request *request, const char *tag) {
    const bool one_each = changes(request);
    EAB_TRY(check_tag(tag));
    for (int op = 0; op < EAB_BENCH_OP_COUNT; op++) {
        maker->operation = eab_bench_operation_at(op);
        if (!allows(request->values[EAB_AXIS_OP], op) || !fits(maker->operation, request)) continue;
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            if (cases[i].op != (eab_bench_op)op || !has_tag(&cases[i], tag)) continue;
            if (cases[i].models ? gives_shape(maker->operation, request) : request->sets != NULL) continue;
            EAB_TRY(add_case(maker, &cases[i], request));
            if (one_each) break;
        }
    }
    return maker->plan->points->len ? EAB_OK : refuse_nothing(request, tag);
}

int eab_bench_plan_make(const eab_bench_request *request, eab_bench_plan *plan) {
    *plan = (eab_bench_plan){.points = g_array_new(FALSE, FALSE, sizeof(eab_bench_point)),
                             .configs = g_ptr_array_new_with_free_func(g_free)};
    plan_maker maker = {.plan = plan, .seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    const int status = make(&maker, request, request->tag ? request->tag : "default");
    g_hash_table_destroy(maker.seen);
    if (status) eab_bench_plan_free(plan);
    return status;
}

void eab_bench_plan_free(eab_bench_plan *plan) {
    g_clear_pointer(&plan->points, g_array_unref);
    g_clear_pointer(&plan->configs, g_ptr_array_unref);
}
