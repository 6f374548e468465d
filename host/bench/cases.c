#include "cases.h"

#include <stdio.h>
#include <string.h>

#include "base/suggest.h"
#include "kernels/mechanism.h"
#include "model/network.h"
#include "plan/cells.h"
#include "spec/identity.h"
#include "spec/range.h"
#include "tasks/task.h"

static const char *const tags[] = {"default", "quick", "models", "long", "gpu", NULL};
static const uint32_t COMMON_AXES = EAB_AXIS_BIT(OP) | EAB_AXIS_BIT(IMPLEMENTATION); /* of all operations */
enum { DEFAULT = 1, QUICK = 2, MODELS = 4, LONG = 8, GPU = 16 };                     /* bits in the order of `tags` */

/* What is measured by default. To add a case: one entry. `axes` has a value, list or range for every axis of the
 * operation, between blanks; with `models`, options of models give the shapes instead. */
typedef struct {
    eab_bench_op op;
    unsigned tags;
    const char *axes, *models;
} bench_case;

static const bench_case cases[] = {
    {EAB_BENCH_ATTENTION, DEFAULT,
     "mechanism=dpa,ea position=none causal=on head-dim=64 batch=1 heads=4 context=128:2048:*4 pass=forward,backward "
     "dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_ATTENTION, DEFAULT | QUICK, /* the models of the quick ladder */
     "mechanism=dpa,ea position=alibi causal=on head-dim=8 batch=32 heads=4 context=24 pass=forward,backward "
     "dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_ATTENTION, MODELS,
     "mechanism=dpa,ea,ea-scaled,ea-softmax,ea-parallel,square,ea-quartic,sigmoid position=alibi causal=on "
     "head-dim=4,8,16 batch=32 heads=4 context=32 pass=forward,backward dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_ATTENTION, LONG,
     "mechanism=dpa,ea,ea-scaled,ea-softmax position=none causal=on head-dim=16:128:*2 batch=1 heads=1 "
     "context=64:8192:*2 pass=forward,backward dtype=float32 implementation=fused,unfused",
     NULL},
    {EAB_BENCH_GEMM, DEFAULT | QUICK, "m=256,1024 n=1024 k=1024 transpose=none implementation=eabench,openblas", NULL},
    {EAB_BENCH_GEMM, DEFAULT | QUICK, "implementation=eabench,openblas", "model.d_model=32"},
    {EAB_BENCH_GEMM, MODELS, "implementation=eabench,openblas,libxsmm", "model.d_model=16,32,64 model.context=32"},
    {EAB_BENCH_GEMM, MODELS, "m=1024 n=1024 k=1024 transpose=none,a,b implementation=eabench,openblas,libxsmm", NULL},
    {EAB_BENCH_GEMM, GPU, "m=1024:8192:*2 n=4096 k=4096 transpose=none,a,b implementation=eabench", NULL},
    {EAB_BENCH_NORM, DEFAULT | QUICK | MODELS, "pass=forward,backward implementation=eabench",
     "model.d_model=16,32,64"},
    {EAB_BENCH_NORM, GPU | DEFAULT, "m=4096 n=1024 pass=forward,backward implementation=eabench", NULL},
    {EAB_BENCH_LOSS, DEFAULT | QUICK | MODELS, "implementation=eabench", "task.basis=8,16"},
    {EAB_BENCH_LOSS, GPU | DEFAULT, "m=4096 n=1024 implementation=eabench", NULL},
    {EAB_BENCH_OPTIMIZER, DEFAULT | QUICK | MODELS, "implementation=eabench", "model.d_model=16,32,64"},
    {EAB_BENCH_OPTIMIZER, GPU | DEFAULT, "n=1048576 implementation=eabench", NULL},
    {EAB_BENCH_STEP, DEFAULT | QUICK, "mechanism=dpa,ea implementation=eabench", "model.alibi_span=4"},
    {EAB_BENCH_STEP, MODELS | GPU, "mechanism=dpa,ea implementation=eabench",
     "model.d_model=16,32,64 model.layers=1,2 model.context=32"},
    {EAB_BENCH_NOTHING, DEFAULT | QUICK, "implementation=eabench", NULL},
    {EAB_BENCH_ATTENTION, GPU,
     "mechanism=dpa,ea position=none causal=on head-dim=64,128 batch=4 heads=16 context=512:16384:*2 "
     "pass=forward,backward dtype=float32,bf16,fp16 implementation=fused,unfused",
     NULL},
};

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
        return eab_fail(EAB_BAD_INPUT, "more than %d rows; allowed: at most %d", EAB_BENCH_MAX_POINTS,
                        EAB_BENCH_MAX_POINTS);
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

/* The case's values, replaced by those of the request. */
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

/* Where the mechanism is an axis, it is an option of the models: "train.mechanism=dpa,ea". g_free */
static char *mechanism_set(const plan_maker *maker) {
    const GArray *values = maker->values[EAB_AXIS_MECHANISM];
    GString *set = g_string_new("train.mechanism=");
    for (guint i = 0; i < values->len; i++)
        g_string_append_printf(set, "%s%s", i ? "," : "",
                               eab_mechanism_name((int32_t)g_array_index(values, double, i)));
    return g_string_free(set, FALSE);
}

static int refuse_mechanism(const eab_bench_request *request) {
    for (const char *const *set = request->sets; set && *set; set++)
        if (g_str_has_prefix(*set, "train.mechanism"))
            return eab_fail(EAB_BAD_INPUT, "--set %s: not for --op step; allowed: --mechanism NAME[,NAME]...", *set);
    return EAB_OK;
}

/* The models: cells of a sweep of one task, with the case's options, replaced by those of the request. */
static int list_models(const plan_maker *maker, const bench_case *entry, const eab_bench_request *request,
                       eab_plan *models) {
    GStrvBuilder *sets = g_strv_builder_new();
    char **own = g_strsplit(entry->models, " ", -1);
    g_strv_builder_addv(sets, (const char **)own);
    if (maker->values[EAB_AXIS_MECHANISM]) {
        char *mechanisms = mechanism_set(maker);
        g_strv_builder_add(sets, mechanisms);
        g_free(mechanisms);
    }
    for (const char *const *set = request->sets; set && *set; set++) g_strv_builder_add(sets, *set);
    char **all = g_strv_builder_end(sets);
    int status = maker->values[EAB_AXIS_MECHANISM] ? refuse_mechanism(request) : EAB_OK;
    if (!status) status = eab_plan_of_task(eab_task_at(0)->name, (const char *const *)all, models);
    g_strfreev(all);
    g_strfreev(own);
    g_strv_builder_unref(sets);
    return status;
}

/* The points at which the models have the operation, multiplied by the case's other axes. */
static int add_models(plan_maker *maker, const bench_case *entry, const eab_bench_request *request,
                      const eab_bench_point *point) {
    const eab_backend *backend = eab_backend_from_name(request->backend);
    GArray *points = g_array_new(FALSE, FALSE, sizeof(eab_bench_point));
    eab_plan models;
    int status = list_models(maker, entry, request, &models);
    g_clear_pointer(&maker->values[EAB_AXIS_MECHANISM], g_array_unref); /* the models have it now */
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

/* EAB_AXIS_BIT of every given axis. */
static uint32_t given_axes(const eab_bench_request *request) {
    uint32_t given = 0;
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        if (request->values[axis]) given |= UINT32_C(1) << axis;
    return given;
}

/* Whether the operation has every given axis and one of the given implementations. */
static bool fits(const eab_bench_operation *operation, const eab_bench_request *request) {
    if (given_axes(request) & ~(operation->axes | COMMON_AXES)) return false;
    for (int i = 0; i < EAB_BENCH_IMPLEMENTATION_COUNT; i++)
        if (offers(operation, i) && allows(request->values[EAB_AXIS_IMPLEMENTATION], i)) return true;
    return false;
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

/* The bit of a tag; 0 with a message if there is no such tag. */
static unsigned tag_from_name(const char *name) {
    char allowed[128], shown[80];
    for (unsigned i = 0; tags[i]; i++)
        if (strcmp(tags[i], name) == 0) return 1U << i;
    eab_join(tags, allowed, sizeof allowed);
    eab_fail(EAB_BAD_INPUT, "--tag %s: no such tag; nearest: %s; allowed: %s",
             eab_excerpt(name, 60, shown, sizeof shown), eab_suggest(name, tags), allowed);
    return 0;
}

static int make(plan_maker *maker, const eab_bench_request *request, const char *tag) {
    const uint32_t given = given_axes(request),
                   shape = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N) | EAB_AXIS_BIT(K) | EAB_AXIS_BIT(TRANSPOSE);
    /* Whether an axis or option is given that changes a case. */
    const bool one_each = (given & ~(COMMON_AXES | EAB_AXIS_BIT(DTYPE))) || request->sets;
    const unsigned tag_bit = tag_from_name(tag);
    if (!tag_bit) return EAB_BAD_INPUT;
    for (int op = 0; op < EAB_BENCH_OP_COUNT; op++) {
        maker->operation = eab_bench_operation_at(op);
        if (!allows(request->values[EAB_AXIS_OP], op) || !fits(maker->operation, request)) continue;
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            if (cases[i].op != (eab_bench_op)op || !(cases[i].tags & tag_bit)) continue;
            /* A model determines its shapes; without a model there are no options. */
            if (cases[i].models ? (given & maker->operation->axes & shape) != 0 : request->sets != NULL) continue;
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
