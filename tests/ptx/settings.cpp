#include "settings.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ptx {

static int64_t read_number(const char *name, int64_t otherwise, int64_t lowest, int64_t highest, const char **rest) {
    const char *const text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    errno = 0;
    const int64_t value = strtoll(text, &end, 10);
    if (end == text || errno || value < lowest || value > highest || (*end && !rest)) {
        fprintf(stderr, "ptx: %s is '%s'; %lld to %lld is allowed\n", name, text, (long long)lowest,
                (long long)highest);
        exit(2);
    }
    if (rest) *rest = end;
    return value;
}

static bool read_switch(const char *name, bool otherwise) { return read_number(name, otherwise, 0, 1, nullptr) != 0; }

static std::string read_text(const char *name, const char *otherwise) {
    const char *const text = getenv(name);
    return text && *text ? text : otherwise;
}

static int read_device() {
    const int device = (int)read_number("EAB_PTX_DEVICE", 90, 0, 1000, nullptr);
    for (const int known : {80, 86, 89, 90, 100, 120})
        if (device == known) return device;
    fprintf(stderr, "ptx: EAB_PTX_DEVICE is '%d'; 80, 86, 89, 90, 100, 120 are allowed\n", device);
    exit(2);
}

/* "5x2" */
static void read_grid(int grid[2]) {
    const char *const text = getenv("EAB_PTX_GRID");
    char end;
    grid[0] = 2147483647;
    grid[1] = 65535;
    if (!text || !*text) return;
    if (sscanf(text, "%dx%d%c", &grid[0], &grid[1], &end) == 2 && grid[0] > 0 && grid[1] > 0) return;
    fprintf(stderr, "ptx: EAB_PTX_GRID is '%s'; blocks in x and y, such as 5x2, are allowed\n", text);
    exit(2);
}

static Settings read_settings() {
    Settings s;
    read_grid(s.largest_grid);
    s.folders = read_text("EAB_PTX_DIR", EAB_PTX_FOLDER);
    s.findings = read_text("EAB_PTX_FINDINGS", "");
    s.device = read_device();
    s.memory_bytes = (size_t)read_number("EAB_PTX_MEMORY_MIB", 8192, 1, 30000, nullptr) << 20;
    s.seed = (unsigned)read_number("EAB_PTX_SEED", 0, 0, 1000000000, nullptr);
    s.approximate = read_switch("EAB_PTX_APPROXIMATE", false);
    s.truncate_sums = read_switch("EAB_PTX_TRUNCATE_SUMS", false);
    s.early_copies = read_switch("EAB_PTX_EARLY_COPIES", false);
    s.watch_races = read_switch("EAB_PTX_RACES", true);
    s.count_banks = read_switch("EAB_PTX_BANKS", false);
    s.trace = read_switch("EAB_PTX_TRACE", false);
    const char *rest = "";
    s.fault_launch = read_number("EAB_PTX_FAULT", 0, 0, INT64_MAX, &rest);
    s.fault_for_good = !strcmp(rest, " for good");
    return s;
}

const Settings &settings() {
    static const Settings read = read_settings();
    return read;
}

} // namespace ptx
