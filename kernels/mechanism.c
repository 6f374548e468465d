#include "mechanism.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "attention.h"

typedef struct {
    const char *name;
    eab_mechanism_class class;
    eab_scale_rule scale;
} mechanism_entry;

static const mechanism_entry mechanisms[] = {
#define MECHANISM(identifier, name, class_name, scale, formula) {name, EAB_CLASS_##class_name, EAB_SCALE_##scale},
    EAB_MECHANISM_LIST(MECHANISM)
#undef MECHANISM
};

int32_t eab_mechanism_from_name(const char *name) {
    for (int32_t i = 0; name && i < EAB_MECHANISM_COUNT; i++)
        if (!strcmp(mechanisms[i].name, name)) return i;
    return -1;
}

const char *eab_mechanism_name(int32_t mechanism) {
    return mechanism >= 0 && mechanism < EAB_MECHANISM_COUNT ? mechanisms[mechanism].name : NULL;
}

eab_mechanism_class eab_mechanism_class_of(int32_t mechanism) { return mechanisms[mechanism].class; }

float eab_mechanism_default_scale(int32_t mechanism, int32_t head_dim) {
    return mechanisms[mechanism].scale == EAB_SCALE_ONE ? 1.0f : (float)(1 / sqrt((double)head_dim));
}
