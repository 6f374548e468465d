/* The cell that a spec with an empty section [task FAMILY] defines. */
#ifndef EAB_TESTS_DEFAULT_CONFIG_H
#define EAB_TESTS_DEFAULT_CONFIG_H

#include "host/spec/options.h"
#include "tasks/task.h"

static inline eab_config default_config(int family) {
    eab_config config = {.level = eab_level_default(family)};
    for (int i = 0; i < eab_option_count; i++) eab_option_set(&eab_options[i], &config, eab_options[i].default_value);
    return config;
}

#endif
