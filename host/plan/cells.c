#include "cells.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "model/cost.h"
#include "spec/cell_task.h"
#include "spec/file.h"
#include "spec/identity.h"
#include "tasks/task.h"
#include "validate.h"

enum { MAX_DIMENSIONS = 64, MAX_VARIANTS = 16 };

/* One dimension of a product: an option's values, or (option NULL) the levels of all task sections. */
typedef struct {
    const eab_option *option;
    const double *values;
    int64_t count;
    int64_t first; /* place of values[0] among the axis' values, for the order of the cells */
    int64_t place; /* of the cell that is due */
} sweep_dimension;

/* A level of a task section: a cell's fields that say what it learns. */
typedef struct {
    eab_level level;
    int32_t mixture, cue;
} level_choice;

/* A product of dimensions. A sweep is one, or, where an axis has a list for some mechanism, one for each mechanism. */
typedef struct {
    sweep_dimension dimensions[MAX_DIMENSIONS];
    bool ended;
} sweep_variant;

typedef struct {
    const char *path;
    sweep_variant variants[MAX_VARIANTS]; /* of the same dimensions, in the same order */
    int variant_count, dimension_count;
    level_choice *levels;
    double level_count, cell_count; /* doubles: no product of counts overflows them */
    double repeated;                /* cells of mechanisms that are listed twice */
} sweep_product;

static const double *axis_values(const eab_axis *axis) { return (const double *)(const void *)axis->values->data; }

static double count_section(const eab_section *section) {
    double count = 1;
    for (guint i = 0; i < section->axes->len; i++) count *= g_array_index(section->axes, eab_axis, i).values->len;
    return count;
}

static void add_dimension(sweep_product *product, const eab_axis *axis) {
    product->variants[0].dimensions[product->dimension_count++] =
        axis ? (sweep_dimension){.option = axis->option, .values = axis_values(axis), .count = axis->values->len}
             : (sweep_dimension){.option = NULL};
}

/* Whether the option's first axis in the section is this one, and whether some mechanism has a list of its own. */
static bool is_first_axis(const eab_section *section, guint index, bool *by_mechanism) {
    const eab_option *option = g_array_index(section->axes, eab_axis, index).option;
    *by_mechanism = false;
    for (guint i = 0; i < section->axes->len; i++) {
        const eab_axis *axis = &g_array_index(section->axes, eab_axis, i);
        if (axis->option != option) continue;
        if (i < index) return false;
        *by_mechanism = *by_mechanism || axis->mechanism >= 0;
    }
    return true;
}

/* Lists the dimensions that have more than one value and sets the others in `base`. Returns whether any of them has a
 * list for some mechanism. */
static bool list_dimensions(sweep_product *product, const eab_spec *spec, eab_config *base) {
    bool tasks_listed = false, any_by_mechanism = false, by_mechanism;
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = g_ptr_array_index(spec->sections, i);
        if (section->family >= 0) {
            if (!tasks_listed) add_dimension(product, NULL);
            tasks_listed = true;
            product->level_count += count_section(section);
            continue;
        }
        for (guint j = 0; j < section->axes->len; j++) {
            if (!is_first_axis(section, j, &by_mechanism)) continue;
            const eab_axis *axis = eab_section_axis(section, g_array_index(section->axes, eab_axis, j).option, -1);
            any_by_mechanism = any_by_mechanism || by_mechanism;
            if (axis->values->len == 1) eab_option_set(axis->option, base, axis_values(axis)[0]);
            if (axis->values->len > 1 || by_mechanism) add_dimension(product, axis);
        }
    }
    return any_by_mechanism;
}

/* The product's share of the mechanism that stands at `place` of the list. */
static void take_mechanism(sweep_product *product, const eab_spec *spec, const eab_axis *mechanisms, guint place,
                           sweep_variant *variant) {
    const int32_t mechanism = (int32_t)axis_values(mechanisms)[place];
    for (int i = 0; i < product->dimension_count; i++) {
        sweep_dimension *dimension = &variant->dimensions[i];
        if (dimension->option == mechanisms->option) {
            dimension->values = axis_values(mechanisms) + place;
            dimension->first = place;
            dimension->count = 1;
        }
        for (guint j = 0; j < spec->sections->len && dimension->option; j++) {
            const eab_axis *own = eab_section_axis(g_ptr_array_index(spec->sections, j), dimension->option, mechanism);
            if (!own) continue;
            dimension->values = axis_values(own);
            dimension->count = own->values->len;
        }
    }
}

static const eab_axis *find_mechanisms(const eab_spec *spec) {
    const eab_axis *axis = NULL;
    for (guint i = 0; i < spec->sections->len && !axis; i++)
        axis = eab_section_axis(g_ptr_array_index(spec->sections, i), eab_option_find("train", "mechanism"), -1);
    return axis;
}

static double count_variant(const sweep_product *product, const sweep_variant *variant) {
    double count = product->level_count;
    for (int i = 0; i < product->dimension_count; i++)
        if (variant->dimensions[i].option) count *= (double)variant->dimensions[i].count;
    return count;
}

static void split_by_mechanism(sweep_product *product, const eab_spec *spec) {
    const eab_axis *mechanisms = find_mechanisms(spec);
    const sweep_variant all = product->variants[0];
    int variant_of[MAX_VARIANTS];
    for (int i = 0; i < MAX_VARIANTS; i++) variant_of[i] = -1;
    product->variant_count = 0;
    for (guint place = 0; place < mechanisms->values->len; place++) {
        int *own = &variant_of[(int)axis_values(mechanisms)[place]];
        if (*own >= 0) {
            product->repeated += count_variant(product, &product->variants[*own]);
            continue;
        }
        *own = product->variant_count++;
        product->variants[*own] = all;
        take_mechanism(product, spec, mechanisms, place, &product->variants[*own]);
    }
}

static void count_cells(sweep_product *product) {
    for (int i = 0; i < product->variant_count; i++)
        product->cell_count += count_variant(product, &product->variants[i]);
}

static int check_cell_count(const sweep_product *product) {
    if (product->cell_count + product->repeated <= EAB_PLAN_MAX_CELLS) return EAB_OK;
    if (product->variant_count > 1 || product->repeated > 0)
        return eab_fail(EAB_BAD_INPUT,
                        "%s: too many cells: %.7g, all mechanisms' products together; allowed: at most %d",
                        product->path, product->cell_count + product->repeated, EAB_PLAN_MAX_CELLS);
    GString *factors = g_string_new(NULL);
    g_string_append_printf(factors, "%.15g level%s", product->level_count, product->level_count == 1 ? "" : "s");
    for (int i = 0; i < product->dimension_count; i++)
        if (product->variants[0].dimensions[i].option)
            g_string_append_printf(factors, " * %lld %s", (long long)product->variants[0].dimensions[i].count,
                                   product->variants[0].dimensions[i].option->key);
    const int status = eab_fail(EAB_BAD_INPUT, "%s: too many cells: %s = %.7g; allowed: at most %d", product->path,
                                factors->str, product->cell_count, EAB_PLAN_MAX_CELLS);
    g_string_free(factors, TRUE);
    return status;
}

/* The values at `index` of a row of axes, the last one running fastest. */
static void set_level(const eab_section *section, int64_t index, eab_config *config) {
    if (section->family != EAB_FAMILY_MIXTURE) config->level = eab_level_default(section->family);
    for (guint i = section->axes->len; i-- > 0;) {
        const eab_axis *axis = &g_array_index(section->axes, eab_axis, i);
        const int64_t count = axis->values->len;
        eab_option_set(axis->option, config, axis_values(axis)[index % count]);
        index /= count;
    }
    if (config->mixture) config->level = *eab_config_part(config, 0);
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
            product->levels[listed++] = (level_choice){config.level, config.mixture, config.cue};
        }
    }
    for (int variant = 0; variant < product->variant_count; variant++)
        for (int i = 0; i < product->dimension_count; i++) {
            sweep_dimension *dimension = &product->variants[variant].dimensions[i];
            if (!dimension->option) dimension->count = listed;
        }
    return EAB_OK;
}

/* Whether the cell that is due in `a` comes before that of `b`, as if both were of one product. */
static bool comes_first(const sweep_product *product, const sweep_variant *a, const sweep_variant *b) {
    for (int i = 0; i < product->dimension_count; i++) {
        const int64_t left = a->dimensions[i].first + a->dimensions[i].place;
        const int64_t right = b->dimensions[i].first + b->dimensions[i].place;
        if (left != right) return left < right;
    }
    return false;
}

/* Sets the next cell of the sweep. */
static void take_cell(sweep_product *product, eab_config *config) {
    sweep_variant *due = NULL;
    for (int i = 0; i < product->variant_count; i++)
        if (!product->variants[i].ended && (!due || comes_first(product, &product->variants[i], due)))
            due = &product->variants[i];
    for (int i = 0; i < product->dimension_count; i++) {
        const sweep_dimension *dimension = &due->dimensions[i];
        if (dimension->option) eab_option_set(dimension->option, config, dimension->values[dimension->place]);
        else {
            const level_choice *choice = &product->levels[dimension->place];
            config->level = choice->level;
            config->mixture = choice->mixture;
            config->cue = choice->cue;
        }
    }
    due->ended = true;
    for (int i = product->dimension_count - 1; i >= 0 && due->ended; i--) {
        sweep_dimension *dimension = &due->dimensions[i];
        dimension->place = (dimension->place + 1) % dimension->count;
        due->ended = dimension->place == 0;
    }
}

static int check_cell(const sweep_product *product, const eab_config *config) {
    const int status = eab_config_check(config);
    return status ? eab_fail_prefix(status, "%s: ", product->path) : EAB_OK;
}

static int list_cells(sweep_product *product, const eab_config *base, eab_plan *plan) {
    const int64_t count = (int64_t)product->cell_count;
    plan->cells = malloc((size_t)count * sizeof *plan->cells);
    if (!plan->cells) return eab_fail(EAB_NO_MEMORY, "%s: no memory for %lld cells", product->path, (long long)count);
    plan->places = g_hash_table_new(g_str_hash, g_str_equal);
    int status = EAB_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        eab_cell *cell = &plan->cells[plan->count];
        cell->config = *base;
        take_cell(product, &cell->config);
        eab_config_id(&cell->config, cell->id);
        if (g_hash_table_contains(plan->places, cell->id)) {
            plan->duplicates++;
            continue;
        }
        status = check_cell(product, &cell->config);
        g_hash_table_insert(plan->places, cell->id, GSIZE_TO_POINTER((gsize)plan->count));
        plan->count++;
    }
    return status;
}

static int multiply_out(const eab_spec *spec, const char *path, eab_plan *plan) {
    sweep_product product = {.path = path, .variant_count = 1};
    eab_config base = eab_config_default(0);
    if (list_dimensions(&product, spec, &base)) split_by_mechanism(&product, spec);
    count_cells(&product);
    EAB_TRY(check_cell_count(&product));
    plan->duplicates = (int64_t)product.repeated;
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
    const bool leads_elsewhere = strspn(base, ".") >= length && length <= 2; /* runs/.. is no folder for a run */
    return leads_elsewhere ? strdup("spec") : strndup(base, length);
}

int eab_plan_make(const char *path, const eab_spec *spec, eab_plan *plan) {
    char shown[300];
    *plan = (eab_plan){.count = 0};
    eab_excerpt(path, 250, shown, sizeof shown);
    int status = multiply_out(spec, shown, plan);
    if (!status) status = print_resolved(spec, shown, plan);
    if (!status && !(plan->name = name_plan(path))) status = eab_fail(EAB_NO_MEMORY, "%s: no memory", shown);
    if (status) eab_plan_free(plan);
    return status;
}

int eab_plan_load(const char *path, const char *const *sets, eab_plan *plan) {
    eab_spec spec;
    *plan = (eab_plan){.count = 0};
    EAB_TRY(eab_spec_read(path, sets, &spec));
    const int status = eab_plan_make(path, &spec, plan);
    eab_spec_free(&spec);
    return status;
}

void eab_plan_free(eab_plan *plan) {
    g_clear_pointer(&plan->places, g_hash_table_destroy);
    free(plan->cells);
    free(plan->resolved);
    free(plan->name);
    *plan = (eab_plan){.count = 0};
}

int64_t eab_plan_find(const eab_plan *plan, const char *id) {
    gpointer place;
    const bool found = g_hash_table_lookup_extended(plan->places, id, NULL, &place);
    return found ? (int64_t)GPOINTER_TO_SIZE(place) : -1;
}

double eab_cell_flop(const eab_config *config) {
    return eab_config_flop_per_token(config) * config->batch * config->context * (double)config->steps;
}
