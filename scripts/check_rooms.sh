#!/usr/bin/env bash
# Checks that includes follow the order of the floors (host -> kernels -> tasks) and of host's rooms: prints each
# #include of a later room, and each circle of headers. Exit codes: 0 nothing found, 1 something found.
# Usage: scripts/check_rooms.sh [TREE]
set -euo pipefail
cd "${1:-$(dirname -- "${BASH_SOURCE[0]}")/..}"
# A room includes only itself and those before it.
order='tasks kernels base spec model plan run check bench sweep commands'

mapfile -t files < <(find tasks kernels host -name '*.[ch]' -o -name '*.cu' | LC_ALL=C sort)
awk -v order="$order" '
    BEGIN { for (n = split(order, names, " "); n; n--) rank[names[n]] = n }
    function room(path, part) {
        split(path, part, "/")
        return part[1] == "host" ? part[2] : part[1]
    }
    function resolve(name, path) { # the file that #include "name" in FILENAME means; "" for a generated header
        path = FILENAME
        sub(/[^\/]*$/, "", path)
        while (sub(/^\.\.\//, "", name)) sub(/[^\/]*\/$/, "", path)
        if (readable(path name)) return path name
        if (readable(name)) return name
        return readable("host/" name) ? "host/" name : ""
    }
    function readable(path, line, status) {
        if (!(path in found)) {
            status = (getline line <path)
            close(path)
            found[path] = status >= 0
        }
        return found[path]
    }
    /^[ \t]*#[ \t]*include[ \t]+"/ {
        split($0, quoted, "\"")
        target = resolve(quoted[2])
        if (target == "") next
        if (!(room(FILENAME) in rank)) { print FILENAME ": no room of the list"; bad = 1 }
        if (rank[room(target)] > rank[room(FILENAME)]) {
            printf "%s:%d: includes %s; %s may include only: ", FILENAME, FNR, target, room(FILENAME)
            for (i = 1; i <= rank[room(FILENAME)]; i++) printf "%s%s", names[i], i < rank[room(FILENAME)] ? ", " : "\n"
            bad = 1
        }
        if (target != FILENAME) arrows[FILENAME] = arrows[FILENAME] " " target
    }
    function visit(file, trail, count, next_files, i) { # depth first; a file that is in the trail closes a circle
        if (state[file] == 2) return
        if (state[file] == 1) { print "circle: " substr(trail, index(trail, " " file)) " -> " file; bad = 1; return }
        state[file] = 1
        count = split(arrows[file], next_files, " ")
        for (i = 1; i <= count; i++) visit(next_files[i], trail " " next_files[i])
        state[file] = 2
    }
    END { for (file in arrows) visit(file, " " file); exit bad }' "${files[@]}"
