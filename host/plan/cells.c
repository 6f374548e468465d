#include "cells.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#include "base/suggest.h"
#include "base/system.h"
#include "kernels/mechanism.h"
#include "model/cost.h"
#include "spec/cell_task.h"
#include "spec/file.h"
#include "spec/identity.h"
#include "tasks/task.h"
#include "validate.h"

enum { MAX_DIMENSIONS = 64 };

/* One dimension of a product: the values of an option, or (option NULL) the levels of all task sections. */
typedef struct {
    const eab_option *option;
    const double *values;
    int64_t first, end; /* the places [first, end) of the values belong to the product */
    int64_t place;      /* of the next cell */
} sweep_dimension;

/* A level of a task section: the fields of a cell that define its task. */
typedef struct {
    eab_level level;
    const eab_mixture *mixture;
    int32_t cue;
} level_choice;

/* The cells of one mechanism: the product of its axes. */
typedef struct {
    sweep_dimension dimensions[MAX_DIMENSIONS];
    double count;      /* of its cells; a double, which no product of counts overflows */
    eab_config config; /* of the next cell */
    bool ended;
} sweep_variant;

typedef struct {
    const char *path;
    sweep_variant variants[EAB_MECHANISM_COUNT]; /* of the same dimensions, in the same order */
    int variant_count, dimension_count;
    GArray *levels; /* of level_choice */
    double level_count, cell_count;
    double repeated; /* cells of mechanisms that are listed twice */
} sweep_product;

static const eab_section *section_at(const eab_spec *spec, guint index) {
    return g_ptr_array_index(spec->sections, index);
}

static const double *axis_values(const eab_axis *axis) { return (const double *)(const void *)axis->values->data; }

static double count_section(const eab_section *section) {
    double count = 1;
    for (guint i = 0; i < section->axes->len; i++) count *= g_array_index(section->axes, eab_axis, i).values->len;
    return count;
}

static bool has_dimension(const sweep_variant *variant, int count, const eab_option *option) {
    for (int i = 0; i < count; i++)
        if (variant->dimensions[i].option == option) return true;
    return false;
}

/* Adds a dimension for each option of the section, in the order of their first axes. */
static int add_dimensions(sweep_variant *variant, int count, const eab_section *section, int32_t mechanism) {
    for (guint i = 0; i < section->axes->len; i++) {
        const eab_option *option = g_array_index(section->axes, eab_axis, i).option;
        if (has_dimension(variant, count, option)) continue;
        const eab_axis *axis = eab_section_axis(section, option, mechanism);
        if (!axis) axis = eab_section_axis(section, option, -1);
        variant->dimensions[count++] =
            (sweep_dimension){.option = option, .values = axis_values(axis), .end = axis->values->len};
    }
    return count;
}

/* Only mechanism mix has an axis of its parameter; the cells of others have 0. */
static bool is_mix(const eab_option *option) { return option && option == eab_option_find("train", "mix"); }

/* Makes the variant of the mechanism at `place` of the list of mechanisms. */
static void make_variant(sweep_product *product, const eab_spec *spec, const eab_axis *mechanisms, guint place,
                         sweep_variant *variant) {
    static const double no_mix = 0;
    const int32_t mechanism = (int32_t)axis_values(mechanisms)[place];
    int count = 0;
    *variant = (sweep_variant){.count = product->level_count};
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = section_at(spec, i);
        if (section->family < 0) count = add_dimensions(variant, count, section, mechanism);
        else if (!has_dimension(variant, count, NULL))
            variant->dimensions[count++] = (sweep_dimension){.end = (int64_t)fmin(product->level_count, 1e18)};
    }
    product->dimension_count = count;
    for (int i = 0; i < count; i++) {
        sweep_dimension *dimension = &variant->dimensions[i];
        if (dimension->option == mechanisms->option) {
            dimension->first = dimension->place = place;
            dimension->end = place + 1;
        } else if (is_mix(dimension->option) && mechanism != EAB_MECHANISM_mix) {
            dimension->values = &no_mix;
            dimension->end = 1;
        }
        if (dimension->option) variant->count *= (double)(dimension->end - dimension->first);
    }
}

static void make_variants(sweep_product *product, const eab_spec *spec) {
    const eab_axis *mechanisms = eab_spec_mechanisms(spec);
    const sweep_variant *of_mechanism[EAB_MECHANISM_COUNT] = {NULL};
    for (guint i = 0; i < spec->sections->len; i++)
        if (section_at(spec, i)->family >= 0) product->level_count += count_section(section_at(spec, i));
    for (guint place = 0; place < mechanisms->values->len; place++) {
        const sweep_variant **present = &of_mechanism[(int)axis_values(mechanisms)[place]];
        if (*present) {
            product->repeated += (*present)->count;
            continue;
        }
        sweep_variant *variant = &product->variants[product->variant_count++];
        make_variant(product, spec, mechanisms, place, variant);
        product->cell_count += variant->count;
        *present = variant;
    }
}

static int check_cell_count(const sweep_product *product, const eab_spec *spec) {
    const double count = product->cell_count + product->repeated;
    bool by_mechanism = false;
    if (count <= EAB_PLAN_MAX_CELLS) return EAB_OK;
    GString *factors = g_string_new(NULL);
    g_string_append_printf(factors, "%.15g level%s", product->level_count, product->level_count == 1 ? "" : "s");
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = section_at(spec, i);
        for (guint j = 0; j < section->axes->len && section->family < 0; j++) {
            const eab_axis *axis = &g_array_index(section->axes, eab_axis, j);
            by_mechanism = by_mechanism || axis->mechanism >= 0;
            if (axis->values->len > 1)
                g_string_append_printf(factors, " * %u %s", axis->values->len, axis->option->key);
        }
    }
    if (by_mechanism) g_string_assign(factors, "the products of all mechanisms together");
    const int status = eab_fail(EAB_BAD_INPUT, "%s: too many cells: %s = %.7g; allowed: at most %d", product->path,
                                factors->str, count, EAB_PLAN_MAX_CELLS);
    g_string_free(factors, TRUE);
    return status;
}

/* The level at `index` of a task section, whose last axis runs fastest. */
static level_choice make_level(const eab_spec *spec, const eab_section *section, int64_t index) {
    eab_config config = {.layers = 0};
    if (section->family != EAB_FAMILY_MIXTURE) config.level = eab_level_default(section->family);
    for (guint i = section->axes->len; i-- > 0;) {
        const eab_axis *axis = &g_array_index(section->axes, eab_axis, i);
        const int64_t count = axis->values->len;
        const double value = axis_values(axis)[index % count];
        if (axis->option->kind == EAB_OPTION_MIXTURE) config.mixture = g_ptr_array_index(spec->mixtures, (guint)value);
        else if (axis->option->kind == EAB_OPTION_FILE)
            config.level.text = g_ptr_array_index(spec->texts, (guint)value);
        else eab_option_set(axis->option, &config, value);
        index /= count;
    }
    return (level_choice){*eab_config_part(&config, 0), config.mixture, config.cue};
}

static void list_levels(sweep_product *product, const eab_spec *spec) {
    for (guint i = 0; i < spec->sections->len; i++) {
        const eab_section *section = section_at(spec, i);
        const int64_t count = section->family < 0 ? 0 : (int64_t)count_section(section);
        for (int64_t j = 0; j < count; j++) {
            const level_choice choice = make_level(spec, section, j);
            g_array_append_val(product->levels, choice);
        }
    }
}

/* Whether the next cell of `a` comes before that of `b`, as if both were of one product. */
static bool comes_first(const sweep_product *product, const sweep_variant *a, const sweep_variant *b) {
    for (int i = 0; i < product->dimension_count; i++) {
        const int64_t left = a->dimensions[i].place, right = b->dimensions[i].place;
        if (left != right) return left < right;
    }
    return false;
}

/* Sets the next cell's option or level. */
static void set_dimension(const sweep_product *product, sweep_variant *variant, const sweep_dimension *dimension) {
    eab_config *config = &variant->config;
    if (dimension->option) {
        eab_option_set(dimension->option, config, dimension->values[dimension->place]);
        return;
    }
    const level_choice *choice = &g_array_index(product->levels, level_choice, dimension->place);
    config->level = choice->level;
    config->mixture = choice->mixture;
    config->cue = choice->cue;
}

static void begin_cells(sweep_product *product) {
    for (int i = 0; i < product->variant_count; i++)
        for (int j = 0; j < product->dimension_count; j++)
            set_dimension(product, &product->variants[i], &product->variants[i].dimensions[j]);
}

/* Sets the next cell of the sweep. */
static void take_cell(sweep_product *product, eab_config *config) {
    sweep_variant *due = NULL;
    for (int i = 0; i < product->variant_count; i++)
        if (!product->variants[i].ended && (!due || comes_first(product, &product->variants[i], due)))
            due = &product->variants[i];
    *config = due->config;
    due->ended = true;
    for (int i = product->dimension_count - 1; i >= 0 && due->ended; i--) {
        sweep_dimension *dimension = &due->dimensions[i];
        dimension->place++;
        due->ended = dimension->place == dimension->end;
        if (due->ended) dimension->place = dimension->first;
        set_dimension(product, due, dimension);
    }
}

/* Sets the configs of all cells, those that are listed again included. */
static int fill_cells(sweep_product *product, int64_t count, eab_cell *cells) {
    begin_cells(product);
    for (int64_t i = 0; i < count; i++) {
        take_cell(product, &cells[i].config);
        if (i && eab_config_checks_alike(&cells[i].config, &cells[i - 1].config)) continue;
        const int status = eab_config_check(&cells[i].config);
        if (status) return eab_fail_prefix(status, "%s: ", product->path);
    }
    return EAB_OK;
}

typedef struct {
    eab_cell *begin, *end;
} cell_range;

static gpointer print_ids(gpointer pointer) {
    const cell_range *range = pointer;
    eab_identity *identity = eab_identity_new();
    for (eab_cell *cell = range->begin; cell < range->end; cell++)
        eab_identity_print(identity, &cell->config, cell->id);
    eab_identity_free(identity);
    return NULL;
}

/* Most of a large plan's time is spent here: on all cores. */
static void identify_cells(eab_cell *cells, int64_t count) {
    enum { MAX_THREADS = 16, CELLS_A_THREAD = 10000 };
    const int64_t threads = CLAMP(count / CELLS_A_THREAD, 1, MIN(MAX_THREADS, eab_system_cores()));
    GThread *thread[MAX_THREADS];
    cell_range range[MAX_THREADS];
    for (int64_t i = 0; i < threads; i++) {
        range[i] = (cell_range){cells + count * i / threads, cells + count * (i + 1) / threads};
        thread[i] = i ? g_thread_try_new("identities", print_ids, &range[i], NULL) : NULL;
    }
    for (int64_t i = 0; i < threads; i++)
        if (!thread[i]) print_ids(&range[i]);
    for (int64_t i = 1; i < threads; i++)
        if (thread[i]) g_thread_join(thread[i]);
}

/* An id is the hex digits of a digest: any eight of them are a good hash. */
static guint hash_id(gconstpointer id) {
    guint64 digits;
    memcpy(&digits, id, sizeof digits);
    return (guint)((digits * 0x9e3779b97f4a7c15u) >> 32);
}

static gboolean equal_ids(gconstpointer a, gconstpointer b) { return memcmp(a, b, sizeof((eab_cell *)0)->id) == 0; }

static void drop_duplicates(eab_plan *plan, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (g_hash_table_contains(plan->places, plan->cells[i].id)) {
            plan->duplicates++;
            continue;
        }
        eab_cell *cell = &plan->cells[plan->count];
        if (plan->count < i) *cell = plan->cells[i];
        g_hash_table_insert(plan->places, cell->id, GSIZE_TO_POINTER((gsize)plan->count++));
    }
}

static uint64_t find_later(const eab_plan *plan) {
    uint64_t later = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        const eab_config *config = &plan->cells[i].config;
        if (i && eab_config_checks_alike(config, &plan->cells[i - 1].config)) continue;
        later |= eab_config_later(config);
        for (int32_t part = 0; part < eab_config_part_count(config); part++)
            later |= eab_level_later(eab_config_part(config, part));
    }
    return later;
}

static int list_cells(sweep_product *product, eab_plan *plan) {
    const int64_t count = (int64_t)product->cell_count;
    plan->cells = g_try_new(eab_cell, (gsize)count);
    if (!plan->cells) return eab_fail(EAB_NO_MEMORY, "%s: no memory for %lld cells", product->path, (long long)count);
    eab_system_use_large_pages(plan->cells, (size_t)count * sizeof *plan->cells);
    EAB_TRY(fill_cells(product, count, plan->cells));
    identify_cells(plan->cells, count);
    drop_duplicates(plan, count);
    plan->later = find_later(plan);
    return EAB_OK;
}

static int multiply_out(const eab_spec *spec, const char *path, eab_plan *plan) {
    sweep_product product = {.path = path};
    make_variants(&product, spec);
    EAB_TRY(check_cell_count(&product, spec));
    plan->duplicates = (int64_t)product.repeated;
    product.levels = g_array_new(FALSE, FALSE, sizeof(level_choice));
    list_levels(&product, spec);
    const int status = list_cells(&product, plan);
    g_array_unref(product.levels);
    return status;
}

/* A run's manifest must be a spec that can be read again: half of a file's bytes are left for its [environment]. */
static int print_resolved(const eab_spec *spec, const char *path, eab_plan *plan) {
    plan->resolved = eab_spec_print(spec);
    const size_t size = strlen(plan->resolved);
    if (size <= EAB_SPEC_MAX_BYTES / 2) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT,
                    "%s: written out, the lists of values take %zu bytes of the manifest; allowed: at most %d", path,
                    size, EAB_SPEC_MAX_BYTES / 2);
}

static char *name_plan(const char *path) {
    char *name = g_path_get_basename(path);
    const size_t length = strlen(name), ending = strlen(".ini");
    if (length > ending && g_str_has_suffix(name, ".ini")) name[length - ending] = '\0';
    if (strspn(name, ".") < strlen(name) || strlen(name) > 2) return name;
    g_free(name); /* runs/.. is no folder for a run */
    return g_strdup("spec");
}

int eab_plan_make(const char *path, const eab_spec *spec, eab_plan *plan) {
    char shown[300];
    *plan = (eab_plan){.name = name_plan(path),
                       .mixtures = g_ptr_array_ref(spec->mixtures),
                       .texts = g_ptr_array_ref(spec->texts),
                       .places = g_hash_table_new(hash_id, equal_ids)};
    eab_excerpt(path, 250, shown, sizeof shown);
    int status = multiply_out(spec, shown, plan);
    if (!status) status = print_resolved(spec, shown, plan);
    if (status) eab_plan_free(plan);
    return status;
}

/* Frees the spec. */
static int make_and_free(const char *path, eab_spec *spec, eab_plan *plan) {
    const int status = eab_plan_make(path, spec, plan);
    eab_spec_free(spec);
    return status;
}

int eab_plan_of_task(const char *family, const char *const *sets, eab_plan *plan) {
    char *text = g_strdup_printf("[task %s]\n", family);
    eab_spec spec;
    *plan = (eab_plan){.count = 0};
    int status = eab_spec_parse("--set", text, strlen(text), sets, &spec);
    g_free(text);
    return status ? status : make_and_free("--set", &spec, plan);
}

int eab_plan_load(const char *path, const char *const *sets, eab_plan *plan) {
    eab_spec spec;
    *plan = (eab_plan){.count = 0};
    EAB_TRY(eab_spec_read(path, sets, &spec));
    return make_and_free(path, &spec, plan);
}

int eab_plan_load_manifest(const char *path, eab_plan *plan) {
    eab_spec spec;
    *plan = (eab_plan){.count = 0};
    EAB_TRY(eab_spec_read_manifest(path, &spec));
    EAB_TRY(make_and_free(path, &spec, plan));
    for (guint i = 0; i < plan->texts->len; i++) {
        const eab_text *text = g_ptr_array_index(plan->texts, i);
        plan->lacks_texts = plan->lacks_texts || !text->unit[EAB_TEXT_BYTES].tokens;
    }
    return EAB_OK;
}

void eab_plan_free(eab_plan *plan) {
    g_clear_pointer(&plan->places, g_hash_table_destroy);
    g_clear_pointer(&plan->mixtures, g_ptr_array_unref);
    g_clear_pointer(&plan->texts, g_ptr_array_unref);
    g_free(plan->cells);
    g_free(plan->resolved);
    g_free(plan->name);
    *plan = (eab_plan){.count = 0};
}

int64_t eab_plan_find(const eab_plan *plan, const char *id) {
    gpointer place;
    const bool found =
        strlen(id) + 1 == sizeof plan->cells->id && g_hash_table_lookup_extended(plan->places, id, NULL, &place);
    return found ? (int64_t)GPOINTER_TO_SIZE(place) : -1;
}

GPtrArray *eab_plan_varying(const eab_plan *plan) {
    GPtrArray *varying = g_ptr_array_new();
    bool *varies = g_new0(bool, (gsize)eab_option_count);
    for (int64_t cell = 1; cell < plan->count; cell++) { /* the outer loop: a cell is several cache lines long */
        const eab_config *config = &plan->cells[cell].config;
        if (eab_config_checks_alike(config, &plan->cells[cell - 1].config)) continue; /* they differ in lr and seed */
        for (int i = 0; i < eab_option_count; i++)
            varies[i] = varies[i] || eab_option_get(&eab_options[i], config) !=
                                         eab_option_get(&eab_options[i], &plan->cells[0].config);
    }
    for (int i = 0; i < eab_option_count; i++) {
        const char *key = eab_options[i].key;
        if (varies[i] && strcmp(key, "lr") != 0 && strcmp(key, "seed") != 0)
            g_ptr_array_add(varying, (gpointer)&eab_options[i]);
    }
    g_free(varies);
    return varying;
}

double eab_cell_flop(const eab_config *config) {
    return eab_config_flop_per_token(config) * config->batch * config->context * (double)config->steps;
}
