/* /proc/self/cgroup names the process's group in each hierarchy, and /proc/self/mountinfo where the hierarchies are
 * mounted (cgroups(7), proc(5)). Version 2 has one hierarchy for all controllers; version 1 has one for memory and one
 * for cpu. A machine may have both versions at once. */
#include "cgroup.h"

#include <glib.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* A mounted hierarchy: `place` shows the group `top` and those below it. */
typedef struct {
    char *top, *place;
    const char *type, *options;
} cgroup_mount;

/* The file's lines; none if it cannot be read. g_strfreev */
static char **read_lines(const char *root, const char *path) {
    char *file = g_strconcat(root, path, NULL), *text = NULL;
    g_file_get_contents(file, &text, NULL, NULL);
    char **lines = g_strsplit(text ? text : "", "\n", -1);
    g_free(text);
    g_free(file);
    return lines;
}

/* The numbers at the beginning of folder/name; returns how many there are, 0 for "max" or no file. */
static int read_numbers(const char *folder, const char *name, double *numbers, int most) {
    char *path = g_build_filename(folder, name, NULL), *text = NULL;
    int count = 0;
    g_file_get_contents(path, &text, NULL, NULL);
    for (char *at = text, *end; at && count < most; at = end) {
        const double number = g_ascii_strtod(at, &end);
        if (end == at || !isfinite(number)) break;
        numbers[count++] = number;
    }
    g_free(text);
    g_free(path);
    return count;
}

static void read_group(const char *folder, eab_cgroup_limits *limits) {
    double bytes = -1, time[2] = {0, 0};
    if (!read_numbers(folder, "memory.max", &bytes, 1)) read_numbers(folder, "memory.limit_in_bytes", &bytes, 1);
    if (bytes >= 0) limits->memory_bytes = fmin(limits->memory_bytes, bytes);
    if (read_numbers(folder, "cpu.max", time, 2) < 2) {
        if (!read_numbers(folder, "cpu.cfs_quota_us", &time[0], 1)) return;
        if (!read_numbers(folder, "cpu.cfs_period_us", &time[1], 1)) return;
    }
    if (time[0] > 0 && time[1] > 0) limits->cores = fmin(limits->cores, time[0] / time[1]); /* a quota of -1: none */
}

/* Reads a group and its ancestors, up to the top of the mount. */
static void read_groups(const char *root, const cgroup_mount *mount, const char *group, eab_cgroup_limits *limits) {
    /* A container may see its own group as the mount's top, or by a path that does not exist in it. */
    const size_t length = strcmp(mount->top, "/") == 0 ? 0 : strlen(mount->top);
    const bool below = strncmp(group, mount->top, length) == 0 && (group[length] == '/' || !group[length]);
    char *folder = g_strconcat(root, mount->place, below && !strstr(group, "/..") ? group + length : "", NULL);
    const size_t shortest = strlen(root) + strlen(mount->place);
    for (char *end = folder + strlen(folder); end && (size_t)(end - folder) >= shortest; end = strrchr(folder, '/')) {
        *end = '\0';
        read_group(folder, limits);
    }
    g_free(folder);
}

static bool has_word(const char *list, const char *word) {
    char **words = g_strsplit(list, ",", -1);
    const bool found = g_strv_contains((const char *const *)words, word);
    g_strfreev(words);
    return found;
}

/* Whether the mount is of the hierarchy with these controllers, "" in version 2. */
static bool is_mount_of(const cgroup_mount *mount, const char *controllers) {
    if (!*controllers) return strcmp(mount->type, "cgroup2") == 0;
    if (strcmp(mount->type, "cgroup") != 0) return false;
    return (has_word(controllers, "memory") && has_word(mount->options, "memory")) ||
           (has_word(controllers, "cpu") && has_word(mount->options, "cpu"));
}

/* A line of mountinfo: id, parent, device, top, place, options, optional fields, "-", type, source, options. */
static void read_mount(const char *root, char *line, char **groups, eab_cgroup_limits *limits) {
    char *tail = strstr(line, " - ");
    if (!tail) return;
    *tail = '\0';
    char **head = g_strsplit(line, " ", -1), **fields = g_strsplit(tail + 3, " ", -1);
    if (g_strv_length(head) >= 6 && g_strv_length(fields) >= 3) {
        const cgroup_mount mount = {.top = g_strcompress(head[3]), /* a space is written as \040 */
                                    .place = g_strcompress(head[4]),
                                    .type = fields[0],
                                    .options = fields[2]};
        for (char **group = groups; *group; group++) {
            char **parts = g_strsplit(*group, ":", 3); /* id, controllers, path */
            if (g_strv_length(parts) == 3 && is_mount_of(&mount, parts[1])) read_groups(root, &mount, parts[2], limits);
            g_strfreev(parts);
        }
        g_free(mount.top);
        g_free(mount.place);
    }
    g_strfreev(head);
    g_strfreev(fields);
}

eab_cgroup_limits eab_cgroup_read(const char *root) {
    eab_cgroup_limits limits = {HUGE_VAL, HUGE_VAL};
    char **groups = read_lines(root, "/proc/self/cgroup"), **mounts = read_lines(root, "/proc/self/mountinfo");
    for (char **line = mounts; *line; line++) read_mount(root, *line, groups, &limits);
    g_strfreev(groups);
    g_strfreev(mounts);
    return limits;
}
