# shellcheck shell=bash
# Shared by the scripts of this folder: each sets `program` to its name and sources this file.

# English messages and decimal points in every locale.
export LC_ALL=C.UTF-8

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P) || exit 3
venv=${EAB_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

say() { printf '%s: %s\n' "${program:?}" "$*" >&2; }

# Exit with one line: code 2 for misuse, 3 where the environment lacks something.
misuse() {
    say "$* (--help shows the options)"
    exit 2
}
lacking() {
    say "$*"
    exit 3
}

cores() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN; }

# The path relative to the current folder, where that is shorter.
short() {
    case $1 in "$PWD"/*) printf '%s' "${1#"$PWD"/}" ;; *) printf '%s' "$1" ;; esac
}

# quietly WHAT COMMAND...: runs the command with its output in $log; prints WHAT, then a line every 15 seconds. Returns
# the command's status.
quietly() {
    local what=$1 line='' last='' begin=$SECONDS status
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/eabench-$program.XXXXXX") || lacking "cannot write to ${TMPDIR:-/tmp}"
    say "$what"
    "$@" </dev/null 2>&1 | while true; do
        if IFS= read -r -t 15 line; then
            printf '%s\n' "$line" >>"$log"
            last=$line
        elif (($? > 128)); then
            say "... $((SECONDS - begin)) s${last:+: ${last:0:90}}"
        else
            [[ -z $line ]] || printf '%s\n' "$line" >>"$log"
            break
        fi
    done
    status=${PIPESTATUS[0]}
    ((status == 0)) && rm -f -- "$log"
    return "$status"
}

# configure DIR OPTION...: configures the tree in DIR, with Ninja if it is installed; prints CMake's output only on an
# error. A folder under build/ that belongs to another place (the tree was moved or copied) is deleted first.
configure() {
    local dir=$1 cache=$1/CMakeCache.txt home generator=()
    shift
    if [[ -f $cache ]]; then
        home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:[A-Z]*=//p' "$cache")
        if [[ $home != "$root" && $home -ef $root ]]; then
            home=$root
        fi
        if [[ $home != "$root" ]]; then
            [[ $dir == "$root"/build/* ]] || misuse "$dir is a build folder of $home, not of $root"
            rm -rf -- "$dir"
        fi
    elif [[ -d $dir && -n $(ls -A -- "$dir") && $dir != "$root"/build* ]]; then
        misuse "$dir is neither empty nor a build folder of CMake"
    fi
    if [[ ! -f $cache ]] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
    quietly "configuring $(short "$dir")" cmake -S "$root" -B "$dir" "${generator[@]}" "$@" || {
        cat -- "$log" >&2
        rm -f -- "$log"
        lacking "CMake cannot configure $dir: see above"
    }
}
