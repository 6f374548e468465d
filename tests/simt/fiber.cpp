/* Fibers: a stack and a saved stack pointer each. A switch saves the registers that a called function must preserve,
 * and makes no system call. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* void simt_switch(void **save, void *load) */
#if defined(__x86_64__)
__asm__(".text\n.p2align 4\n.globl simt_switch\n.hidden simt_switch\n.type simt_switch, @function\nsimt_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size simt_switch, . - simt_switch\n");
#elif defined(__aarch64__)
__asm__(".text\n.p2align 4\n.globl simt_switch\n.hidden simt_switch\n.type simt_switch, %function\nsimt_switch:\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
        "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
        "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
        "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
        "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\nret\n"
        ".size simt_switch, . - simt_switch\n");
#else
#error "simt knows how to switch stacks on x86-64 and aarch64 only"
#endif

extern "C" void simt_switch(void **save, void *load);

namespace simt {

__thread fiber *current __attribute__((tls_model("initial-exec")));

static void thread_main() {
    fiber &f = *current;
    const simt_launch &launch = *f.owner->launch->launch;
    launch.run(launch.parameters.get());
    f.op = operation::none;
    warp &w = f.owner->warps[f.warp];
    w.done |= 1u << f.lane;
    fiber_suspend(f);
    abort(); /* a thread that is done is never resumed */
}

void fiber_make_stack(fiber &f, unsigned number) {
    const size_t room = STACK_BYTES + PAGE;
    void *memory = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *copies = mmap(nullptr, MAX_COPIES * sizeof(fiber::copy), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || copies == MAP_FAILED || mprotect(memory, PAGE, PROT_NONE)) {
        fprintf(stderr, "simt: no memory for the stack of thread %u\n", number);
        abort();
    }
    f.stack_low = reinterpret_cast<uintptr_t>(memory) + PAGE;
    f.copies = static_cast<fiber::copy *>(copies);
}

void fiber_prepare(fiber &f) {
    /* Tops are staggered: at equal offsets in their pages, all stacks would share a few sets of the caches. */
    const uintptr_t top = (f.stack_low + STACK_BYTES - 64 - f.thread * 320 % PAGE) & ~uintptr_t(15);
#if defined(__x86_64__)
    void **frame = reinterpret_cast<void **>(top) - 8; /* six registers, where to return to, and a null caller */
    for (int i = 0; i < 6; i++) frame[i] = nullptr;
    frame[6] = reinterpret_cast<void *>(thread_main);
    frame[7] = nullptr;
#else
    void **frame = reinterpret_cast<void **>(top) - 20;
    for (int i = 0; i < 20; i++) frame[i] = nullptr;
    frame[11] = reinterpret_cast<void *>(thread_main);
#endif
    f.stack_pointer = frame;
}

void fiber_resume(fiber &f) {
    current = &f;
    simt_switch(&f.owner->scheduler_stack, f.stack_pointer);
    current = nullptr;
}

void fiber_suspend(fiber &f) { simt_switch(&f.stack_pointer, f.owner->scheduler_stack); }

} // namespace simt
