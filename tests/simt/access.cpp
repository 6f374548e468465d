/* The calls that clang's instrumentation puts before loads and stores of kernel files (-fsanitize=thread) and where a
 * pointer is misaligned or an index out of range (-fsanitize=alignment,bounds,...), instead of the sanitizers' own
 * runtimes. Host code in those files is instrumented too: without a current thread, nothing is checked. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" {
extern char __executable_start, _end; /* the linker's: constants and variables of the program lie between */
}

namespace simt {

static inline bool is_local(const fiber &f, uintptr_t address) { return address - f.stack_low < STACK_BYTES; }

bool any_access(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at) {
    if (is_shared(*f.owner, address)) return shared_access(f, address, bytes, kind, at);
    if (global_is_device(address)) return global_access(f, address, bytes, kind, at);
    if (is_local(f, address)) return true;
    if (address >= reinterpret_cast<uintptr_t>(&__executable_start) && address < reinterpret_cast<uintptr_t>(&_end))
        return true;
    const simt_launch &launch = *f.owner->launch->launch;
    if (kind == access::read && address - reinterpret_cast<uintptr_t>(launch.parameters.get()) < launch.parameter_bytes)
        return true;
    return finding(f, at, "%s of %zu bytes at %p, which is not device memory", access_name(kind), bytes,
                   reinterpret_cast<void *>(address));
}

/* `alignment`: what the compiler took for granted. */
static inline void check(const volatile void *memory, size_t bytes, size_t alignment, access kind, const void *caller) {
    fiber *const f = current;
    if (!f) return;
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory);
    if (is_local(*f, address)) return;
    const site at = {nullptr, 0, caller};
    if (address & (alignment - 1))
        finding(*f, at, "misaligned address: %s of %zu bytes at an address that is no multiple of %zu",
                access_name(kind), bytes, alignment);
    any_access(*f, address, bytes, kind, at);
}

static void violation(const char *what, const char *file, unsigned line) {
    if (current) finding(*current, {file, static_cast<int>(line), nullptr}, "%s", what);
    fprintf(stderr, "%s:%u: %s\n", file, line, what);
    abort();
}

} // namespace simt

using namespace simt;

#define CALLER __builtin_return_address(0)

extern "C" {

#define ACCESSES(size)                                                                                         \
    void __tsan_read##size(void *memory) { check(memory, size, size < 8 ? size : 8, access::read, CALLER); }   \
    void __tsan_write##size(void *memory) { check(memory, size, size < 8 ? size : 8, access::write, CALLER); } \
    void __tsan_unaligned_read##size(void *memory) { check(memory, size, 1, access::read, CALLER); }           \
    void __tsan_unaligned_write##size(void *memory) { check(memory, size, 1, access::write, CALLER); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void *memory, size_t bytes) { check(memory, bytes, 1, access::read, CALLER); }
void __tsan_write_range(void *memory, size_t bytes) { check(memory, bytes, 1, access::write, CALLER); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}

/* Copies that the compiler makes of a structure's assignment or a loop; the linker's --wrap leads them here. */
void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__real_memmove(void *to, const void *from, size_t bytes);
void *__real_memset(void *memory, int value, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes) {
    if (current && bytes) {
        check(from, bytes, 1, access::read, CALLER);
        check(to, bytes, 1, access::write, CALLER);
    }
    return __real_memcpy(to, from, bytes);
}
void *__wrap_memmove(void *to, const void *from, size_t bytes) {
    if (current && bytes) {
        check(from, bytes, 1, access::read, CALLER);
        check(to, bytes, 1, access::write, CALLER);
    }
    return __real_memmove(to, from, bytes);
}
void *__wrap_memset(void *memory, int value, size_t bytes) {
    if (current && bytes) check(memory, bytes, 1, access::write, CALLER);
    return __real_memset(memory, value, bytes);
}

/* What clang's undefined-behaviour checks call: first a structure that begins with the place in the source. */
struct ubsan_place {
    const char *file;
    unsigned line, column;
};
#define VIOLATION(name, what) \
    void __ubsan_handle_##name(const ubsan_place *place) { violation(what, place->file, place->line); }
VIOLATION(out_of_bounds, "out of bounds: an index past the end of its array")
VIOLATION(shift_out_of_bounds, "a shift by a negative amount, or by the width of the type or more")
VIOLATION(divrem_overflow, "an integer division by zero")
VIOLATION(add_overflow, "an addition of signed integers overflows")
VIOLATION(sub_overflow, "a subtraction of signed integers overflows")
VIOLATION(mul_overflow, "a multiplication of signed integers overflows")
VIOLATION(negate_overflow, "a negation of a signed integer overflows")
VIOLATION(missing_return, "a function that returns a value ends without one")
VIOLATION(builtin_unreachable, "a place that is said to be out of reach is reached")
void __ubsan_handle_type_mismatch_v1(const ubsan_place *place) {
    violation(
        "misaligned address: an access to a type of a larger alignment than the address has, or through a null pointer",
        place->file, place->line);
}
}

/* ---- atomics ----------------------------------------------------------------------------------------------------- */

template <typename T, typename Change> static T atomic(T *address, const void *caller, Change change) {
    check(address, sizeof *address, sizeof *address, access::atomic, caller);
    T old = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(address, &old, change(old), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}

template <typename T> static T sum(T a, T b) {
    return static_cast<T>(static_cast<unsigned long long>(a) + static_cast<unsigned long long>(b)); /* wraps around */
}

#define ATOMICS(T)                                                                     \
    T atomicAdd(T *p, T value) {                                                       \
        return atomic(p, CALLER, [=](T old) { return sum(old, value); });              \
    }                                                                                  \
    T atomicMax(T *p, T value) {                                                       \
        return atomic(p, CALLER, [=](T old) { return max(old, value); });              \
    }                                                                                  \
    T atomicMin(T *p, T value) {                                                       \
        return atomic(p, CALLER, [=](T old) { return min(old, value); });              \
    }                                                                                  \
    T atomicOr(T *p, T value) {                                                        \
        return atomic(p, CALLER, [=](T old) { return old | value; });                  \
    }                                                                                  \
    T atomicAnd(T *p, T value) {                                                       \
        return atomic(p, CALLER, [=](T old) { return old & value; });                  \
    }                                                                                  \
    T atomicExch(T *p, T value) {                                                      \
        return atomic(p, CALLER, [=](T) { return value; });                            \
    }                                                                                  \
    T atomicCAS(T *p, T compare, T value) {                                            \
        return atomic(p, CALLER, [=](T old) { return old == compare ? value : old; }); \
    }
SIMT_ATOMIC_LIST(ATOMICS)

float __fadd_rn(float x, float y) { return x + y; }
float __fsub_rn(float x, float y) { return x - y; }
float __fmul_rn(float x, float y) { return x * y; }
double __dadd_rn(double x, double y) { return x + y; }
double __dmul_rn(double x, double y) { return x * y; }
