#include "findings.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <unistd.h>

#include "settings.h"

namespace ptx {

namespace {

const int printed_at_most = 200, exit_code = 99;

struct Found {
    std::set<std::string> places;
    int count = 0;
    const uint64_t *instructions = nullptr;
};

/* Never destroyed: the runtime may report a finding while the process ends. */
Found &found() {
    static Found *const all = new Found;
    return *all;
}

void write_findings_file(const std::string &line) {
    if (settings().findings.empty()) return;
    FILE *const file = fopen(settings().findings.c_str(), "a");
    if (!file) return;
    fprintf(file, "%s\n", line.c_str());
    fclose(file);
}

void end() {
    if (found().count == 0) return;
    fflush(nullptr);
    fprintf(stderr, "ptx: %d findings, %llu warp instructions\n", found().count,
            (unsigned long long)*found().instructions);
    _exit(exit_code);
}

} // namespace

void report_at_exit(const uint64_t *instructions) {
    if (found().instructions) return;
    found().instructions = instructions;
    atexit(end);
}

void finding(const char *kind, const Function *function, int line, const char *format, ...) {
    char text[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const std::string place =
        function ? " in " + function->name + " (" + function->file + ":" + std::to_string(line) + ")" : "";
    if (!found().places.insert(kind + (function ? place : text)).second) return;
    const std::string message = std::string(kind) + ": " + text + place;
    if (++found().count <= printed_at_most) fprintf(stderr, "ptx: FINDING %s\n", message.c_str());
    write_findings_file(message);
}

} // namespace ptx
