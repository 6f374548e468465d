#include "plan.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "../tasks/task.h"
#include "spec.h"
#include "suggest.h"
#include "train.h"

enum { MAX_DIMENSIONS = 64 };

/* One dimension of the product: an option's values, or (option NULL) the levels of all task sections. */
typedef struct {
    const eab_option *option;
    const double *values;
    int64_t count;
} sweep_dimension;

typedef struct {
    const char *path;
    sweep_dimension dimensions[MAX_DIMENSIONS];
    int dimension_count;
    eab_level *levels;
    double level_count, cell_count; /* doubles: no product of counts overflows them */
} sweep_product;

static const double *axis_values(const eab_axis *axis) { return (const double *)(const void *)axis->values->data; }

static double count_section(const eab_section *section) {
    double count = 1;
    for (guint i = 0; i < section->axes->len; i++) count *= g_array_index(section->axes, eab_axis, i).values->len;
    return count;
}

/* Lists the dimensions that have more than one value and sets the others in `base`. */
static void list_dimensions(sweep_product *product, const eab_spec *spec, eab_config *base) {
    bool tasks_listed = false;
    product->cell_count = 1;
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = g_ptr_array_index(spec->sections, i);
        if (section->family >= 0) {
            if (!tasks_listed) product->dimensions[product->dimension_count++] = (sweep_dimension){NULL, NULL, 0};
            tasks_listed = true;
            product->level_count += count_section(section);
            continue;
        }
        product->cell_count *= count_section(section);
        for (guint j = 0; j < section->axes->len; j++) {
            const eab_axis *axis = &g_array_index(section->axes, eab_axis, j);
            if (axis->values->len == 1) eab_option_set(axis->option, base, axis_values(axis)[0]);
            else
                product->dimensions[product->dimension_count++] =
                    (sweep_dimension){axis->option, axis_values(axis), axis->values->len};
        }
    }
    product->cell_count *= product->level_count;
}

static int check_cell_count(const sweep_product *product) {
    if (product->cell_count <= EAB_PLAN_MAX_CELLS) return EAB_OK;
    GString *factors = g_string_new(NULL);
    g_string_append_printf(factors, "%.15g level%s", product->level_count, product->level_count == 1 ? "" : "s");
    for (int i = 0; i < product->dimension_count; i++)
        if (product->dimensions[i].option)
            g_string_append_printf(factors, " * %lld %s", (long long)product->dimensions[i].count,
                                   product->dimensions[i].option->key);
    const int status = eab_fail(EAB_BAD_INPUT, "%s: too many cells: %s = %.7g; allowed: at most %d", product->path,
                                factors->str, product->cell_count, EAB_PLAN_MAX_CELLS);
    g_string_free(factors, TRUE);
    return status;
}

/* The values at `index` of a row of axes, the last one running fastest. */
static void set_level(const eab_section *section, int64_t index, eab_config *config) {
    config->level = eab_level_default(section->family);
    for (guint i = section->axes->len; i-- > 0;) {
        const eab_axis *axis = &g_array_index(section->axes, eab_axis, i);
        const int64_t count = axis->values->len;
        eab_option_set(axis->option, config, axis_values(axis)[index % count]);
        index /= count;
    }
}

static int list_levels(sweep_product *product, const eab_spec *spec) {
    product->levels = malloc((size_t)product->level_count * sizeof *product->levels);
    if (!product->levels) return eab_fail(EAB_NO_MEMORY, "%s: no memory for the levels", product->path);
    int64_t listed = 0;
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = g_ptr_array_index(spec->sections, i);
        if (section->family < 0) continue;
        const int64_t count = (int64_t)count_section(section);
        for (int64_t j = 0; j < count; j++) {
            eab_config config = {.layers = 0};
            set_level(section, j, &config);
            product->levels[listed++] = config.level;
        }
    }
    for (int i = 0; i < product->dimension_count; i++)
        if (!product->dimensions[i].option) product->dimensions[i].count = listed;
    return EAB_OK;
}

static void set_cell(const sweep_product *product, int64_t index, eab_config *config) {
    for (int i = product->dimension_count - 1; i >= 0; i--) {
        const sweep_dimension *dimension = &product->dimensions[i];
        const int64_t place = index % dimension->count;
        index /= dimension->count;
        if (dimension->option) eab_option_set(dimension->option, config, dimension->values[place]);
        else config->level = product->levels[place];
    }
}

static int check_cell(const sweep_product *product, const eab_config *config) {
    const int status = eab_config_check(config);
    if (!status) return EAB_OK;
    char *problem = g_strdup(eab_last_error());
    eab_fail((eab_status)status, "%s: %s", product->path, problem);
    g_free(problem);
    return status;
}

static int list_cells(const sweep_product *product, const eab_config *base, eab_plan *plan) {
    const int64_t count = (int64_t)product->cell_count;
    plan->cells = malloc((size_t)count * sizeof *plan->cells);
    if (!plan->cells) return eab_fail(EAB_NO_MEMORY, "%s: no memory for %lld cells", product->path, (long long)count);
    GHashTable *seen = g_hash_table_new(g_str_hash, g_str_equal);
    int status = EAB_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        eab_cell *cell = &plan->cells[plan->count];
        cell->config = *base;
        set_cell(product, i, &cell->config);
        eab_config_id(&cell->config, cell->id);
        if (g_hash_table_contains(seen, cell->id)) {
            plan->duplicates++;
            continue;
        }
        status = check_cell(product, &cell->config);
        g_hash_table_add(seen, cell->id);
        plan->count++;
    }
    g_hash_table_destroy(seen);
    return status;
}

static int multiply_out(const eab_spec *spec, const char *path, eab_plan *plan) {
    sweep_product product = {.path = path};
    eab_config base = eab_config_default(0);
    list_dimensions(&product, spec, &base);
    EAB_TRY(check_cell_count(&product));
    int status = list_levels(&product, spec);
    if (!status) status = list_cells(&product, &base, plan);
    free(product.levels);
    return status;
}

/* Every run's manifest must be a spec that can be read again. */
static int print_resolved(const eab_spec *spec, const char *path, eab_plan *plan) {
    char *text = eab_spec_print(spec);
    const size_t size = strlen(text);
    int status = EAB_OK;
    if (size > EAB_SPEC_MAX_BYTES / 2) /* the other half is for the manifest's own section */
        status = eab_fail(EAB_BAD_INPUT,
                          "%s: written out, the lists of values take %zu bytes of the manifest; allowed: at most %d",
                          path, size, EAB_SPEC_MAX_BYTES / 2);
    else if (!(plan->resolved = strdup(text))) status = eab_fail(EAB_NO_MEMORY, "%s: no memory", path);
    g_free(text);
    return status;
}

static char *name_plan(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t length = strlen(base);
    if (length > 4 && strcmp(base + length - 4, ".ini") == 0) length -= 4;
    return strndup(base, length);
}

int eab_plan_load(const char *path, const char *const *sets, eab_plan *plan) {
    char shown[300];
    eab_spec spec;
    *plan = (eab_plan){.count = 0};
    EAB_TRY(eab_spec_read(path, sets, &spec));
    eab_excerpt(path, 250, shown, sizeof shown);
    int status = multiply_out(&spec, shown, plan);
    if (!status) status = print_resolved(&spec, shown, plan);
    if (!status && !(plan->name = name_plan(path))) status = eab_fail(EAB_NO_MEMORY, "%s: no memory", shown);
    eab_spec_free(&spec);
    if (status) eab_plan_free(plan);
    return status;
}

void eab_plan_free(eab_plan *plan) {
    free(plan->cells);
    free(plan->resolved);
    free(plan->name);
    *plan = (eab_plan){.count = 0};
}

double eab_cell_flop(const eab_config *config) {
    return eab_config_flop_per_token(config) * config->batch * config->context * (double)config->steps;
}
