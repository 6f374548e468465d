/* The one option table: it feeds the spec file, --set, --help, the manifest, the columns of accuracy.csv and the
 * hash of a cell. To add an option: a field in config.h, a line in options.c with `.later = true`, so that tables of
 * cells that do not use it stay as they were, and its default in scripts/analysis/tables.py, for such tables. */
#ifndef EAB_SPEC_OPTIONS_H
#define EAB_SPEC_OPTIONS_H

#include <stdio.h>

#include "config.h"

typedef enum {
    EAB_OPTION_INT32,
    EAB_OPTION_INT64,
    EAB_OPTION_REAL,
    EAB_OPTION_CHOICE, /* int32_t: an index into choices */
    /* Pointers: their values are not numbers, and the functions on values below do not take them. */
    EAB_OPTION_MIXTURE,
    EAB_OPTION_FILE
} eab_option_kind;

/* The families of task sections: those of tasks/, then mixtures of their levels. */
enum { EAB_FAMILY_MIXTURE = EAB_TASK_TEXT + 1, EAB_FAMILY_COUNT };
const char *eab_family_name(int family);

/* The family of this name among the first `count`. EAB_BAD_INPUT: "WHERE: unknown task family ...". */
int eab_family_read(const char *name, int count, const char *where, int *family);

/* Room for any option's value as text. */
enum { EAB_OPTION_TEXT_SIZE = 64 };

typedef struct {
    const char *section; /* "model" or "train"; a family's name for task options (these come from tasks/) */
    const char *key;
    eab_option_kind kind;
    size_t offset;              /* in eab_config */
    double minimum, maximum;    /* INT32, INT64 (exact: at most 2^53), REAL */
    bool above_minimum;         /* REAL: the minimum itself is not allowed */
    bool below_maximum;         /* REAL: the maximum itself is not allowed */
    const char *const *choices; /* CHOICE: NULL-terminated names */
    const char *zero_word;      /* REAL: a word that stands for 0, such as "auto", though 0 is not allowed; or NULL */
    double default_value;       /* or the default choice's index */
    bool later;                 /* accuracy.csv has its column only where a cell has another value than the default */
    const char *help;
} eab_option;

/* Options of the model and train sections, in the tables' order (`scale`: 0 stands for "the mechanism's"). */
extern const eab_option eab_options[];
extern const int eab_option_count;

/* Option 0, 1, ... of "model", "train" or the family of this name; NULL past the last. Those of a family follow each
 * other in memory: this looks the name up in each call. Thread-safe. */
const eab_option *eab_option_at(const char *section, int index);

/* The option of this key, or NULL; `section` as above. */
const eab_option *eab_option_find(const char *section, const char *key);

/* Whether a task family before this one has an option of this key: they share its column. */
bool eab_option_is_before(int family, const char *key);

/* A set of later options has a bit for each of their keys. That of this key; 0 if no such option has it. */
uint64_t eab_option_later(const char *key);

/* The later options of the model and the training, or of a level, that have another value than their default. */
uint64_t eab_config_later(const eab_config *config);
uint64_t eab_level_later(const eab_level *level);

/* EAB_BAD_INPUT: "WHERE: unknown key in [SHOWN]; ..." with the section that has the key, or the nearest key of
 * `section`, and all keys of `section`. */
int eab_option_refuse_key(const char *section, const char *shown, const char *key, const char *where);

/* Whether the option's values are numbers. */
static inline bool eab_option_is_number(const eab_option *option) { return option->kind < EAB_OPTION_MIXTURE; }

/* Reads and sets the option's value as a number (a choice's index), without checks. */
double eab_option_get(const eab_option *option, const eab_config *config);
void eab_option_set(const eab_option *option, eab_config *config, double value);

/* Writes the value as the tables and the manifest show it, so that it reads back as the same value: integers plain,
 * reals by eab_real_print, choices by name. */
void eab_option_print(const eab_option *option, const eab_config *config, char *text, size_t size);

/* The same for a bare number. */
void eab_option_print_value(const eab_option *option, double value, char *text, size_t size);

/* The allowed values: "an integer 1..64", "a real above 0, at most 10", "learned, alibi, rope, none". */
void eab_option_allowed(const eab_option *option, char *text, size_t size);

/* Whether a number is within the option's bounds. */
bool eab_option_within(const eab_option *option, double value);

/* Prints all options, those of the task families first, as an aligned table: section, key, default, allowed, help. */
void eab_options_help(FILE *file);

/* Shortest decimal text of `value` that reads back as the same double. */
void eab_real_print(double value, char *text, size_t size);

#endif
