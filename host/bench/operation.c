#include "operation.h"

#define EAB_BENCH_DECLARE(identifier, name) extern const eab_bench_operation eab_bench_##name;
EAB_BENCH_OPERATION_LIST(EAB_BENCH_DECLARE)
#undef EAB_BENCH_DECLARE

static const eab_bench_operation *const operations[] = {
#define EAB_BENCH_ENTRY(identifier, name) &eab_bench_##name,
    EAB_BENCH_OPERATION_LIST(EAB_BENCH_ENTRY)
#undef EAB_BENCH_ENTRY
};

const eab_bench_operation *eab_bench_operation_at(int op) {
    return op >= 0 && op < EAB_BENCH_OP_COUNT ? operations[op] : NULL;
}

bool eab_bench_has_axis(const eab_bench_operation *operation, eab_bench_axis axis) {
    return axis == EAB_AXIS_OP || axis == EAB_AXIS_IMPLEMENTATION || (operation->axes >> axis & 1);
}
