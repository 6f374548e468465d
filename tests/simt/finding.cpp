/* What is told about a finding: rule, kernel, source line, block and thread. */
#include "runtime.h"

#include <dlfcn.h>
#include <limits.h>
#include <mutex>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

namespace simt {

static std::mutex lock;
static char reason[512], where[512], text[1200];
static const void *address_found;
static simt_launch launch_found;
static dim3 block_found, thread_found;

const char *access_name(access kind) {
    return kind == access::read ? "read" : kind == access::write ? "write" : "atomic operation";
}

const char *thread_name(const runner &r, unsigned thread, char (&name)[64]) {
    if (thread == SEVERAL_THREADS) return "several threads";
    const dim3 index = r.fibers[thread].index;
    snprintf(name, sizeof name, "thread (%u, %u, %u)", index.x, index.y, index.z);
    return name;
}

/* "FILE:LINE" of an address of this program, with the tool of binutils or LLVM; else its function, else the bare
 * address. Some instructions belong to no line: then the nearest one before. */
static void find_line(const void *address, char *line, size_t size) {
    Dl_info info = {};
    dladdr(address, &info);
    snprintf(line, size, "%s at %p", info.dli_sname ? info.dli_sname : "the code", address);
    if (!info.dli_fname) return;
    const size_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(info.dli_fbase);
    char image[PATH_MAX], command[PATH_MAX * 2 + 400], answer[512];
    const ssize_t length = readlink("/proc/self/exe", image, sizeof image - 1);
    if (length <= 0) return;
    image[length] = 0;
    const char *file = strchr(info.dli_fname, '/') && !::access(info.dli_fname, R_OK) ? info.dli_fname : image;
    char addresses[200] = "";
    for (size_t i = 0, used = 0; i < 8; i++)
        used += static_cast<size_t>(snprintf(addresses + used, sizeof addresses - used, " 0x%zx", offset - 1 - 5 * i));
    snprintf(command, sizeof command,
             "{ addr2line -e '%s'%s || llvm-symbolizer --no-inlines --functions=none -e '%s'%s; } 2>/dev/null", file,
             addresses, file, addresses);
    FILE *pipe = popen(command, "r");
    if (!pipe) return;
    bool found = false;
    while (fgets(answer, sizeof answer, pipe)) {
        if (found || answer[0] == '\n' || strchr(answer, '?') || strstr(answer, ":0")) continue;
        answer[strcspn(answer, " \n")] = 0;
        const char *shown = answer;
        for (const char *room : {"/kernels/", "/tests/"})
            if (const char *place = strstr(answer, room)) shown = place + 1;
        snprintf(line, size, "%s", shown);
        found = true;
    }
    pclose(pipe);
}

bool finding(fiber &f, const site &at, const char *format, ...) {
    runner &r = *f.owner;
    const bool in_thread = current != nullptr;
    current = nullptr; /* from here on the host's own code runs: nothing of it is watched */
    r.stopped = true;
    {
        const std::lock_guard<std::mutex> guard(lock);
        if (!r.launch->failed.exchange(true)) {
            va_list arguments;
            va_start(arguments, format);
            vsnprintf(reason, sizeof reason, format, arguments);
            va_end(arguments);
            snprintf(where, sizeof where, "%s:%d", at.file ? at.file : "", at.line);
            address_found = at.file ? nullptr : at.address;
            launch_found = *r.launch->launch;
            launch_found.parameters = nullptr;
            block_found = r.block;
            thread_found = f.index;
            text[0] = 0;
        }
    }
    if (in_thread) fiber_suspend(f); /* for good */
    return false;
}

void finding_clear() {
    const std::lock_guard<std::mutex> guard(lock);
    reason[0] = text[0] = 0;
}

const char *finding_text() {
    const std::lock_guard<std::mutex> guard(lock);
    if (!reason[0] || text[0]) return text;
    if (address_found) find_line(address_found, where, sizeof where);
    const char *name = launch_found.name;
    int length = static_cast<int>(strlen(name));
    if (*name == '(' && length > 1) name++, length -= 2;
    snprintf(text, sizeof text, "kernel %.*s at %s:%d: %s (%s, block (%u, %u, %u), thread (%u, %u, %u))", length, name,
             launch_found.file, launch_found.line, reason, where, block_found.x, block_found.y, block_found.z,
             thread_found.x, thread_found.y, thread_found.z);
    return text;
}

} // namespace simt
