#!/usr/bin/env bash
# Installs the build in BUILD to a scratch prefix, builds examples/attention against it by the CMake package and by
# pkg-config, and runs both; the rest of the tree is not in their reach.
# Usage: run.sh BUILD
set -euo pipefail
build=$(realpath -- "${1:?the build folder}")
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
cc=${CC:-cc}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
prefix=$scratch/prefix

fail() {
    echo "install test: $*" >&2
    exit 1
}

# logged WHAT COMMAND...: the command's output is shown only if it fails.
logged() {
    local what=$1
    shift
    "$@" >"$scratch/log" 2>&1 && return
    cat -- "$scratch/log" >&2
    fail "$what"
}

logged "cmake --install" cmake --install "$build" --prefix "$prefix"
outside=$(sed -n 's/^-- \(Installing\|Up-to-date\|Symlink\): //p' "$scratch/log" | grep -v "^$prefix/" || true)
[[ -z $outside ]] || fail "written outside the prefix: $outside"
if grep -r -l -I -F -e "$root" -e "$build" "$prefix"; then fail "these name the source or build folder"; fi

# ---- what is there ---------------------------------------------------------------------------------------------------

library=$(find "$prefix" -name 'libeabench.so')
[[ -n $library ]] || fail "no libeabench.so"
libdir=$(dirname -- "$library")
"$prefix/bin/eabench" --help >/dev/null || fail "the installed eabench does not run"
if ldd "$prefix/bin/eabench" "$library" | grep 'not found'; then fail "a library is not found"; fi

# Only the public interface is exported.
foreign=$(nm -D --defined-only "$library" |
    awk '$2 ~ /[TDBRVW]/ && $3 !~ /^eab_/ { print $3 }')
[[ -z $foreign ]] || fail "libeabench.so exports foreign names: $foreign"

# Each public header stands alone, in C and, where a compiler is here, in C++; includes outside the prefix would fail.
while IFS= read -r header; do
    $cc -std=c17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c "$header" || fail "$header is no C17"
    if command -v c++ >/dev/null; then
        c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ "$header" || fail "$header is no C++"
    fi
done < <(find "$prefix/include" -name '*.h')

# ---- by CMake, in a prefix that has moved ----------------------------------------------------------------------------

mv -- "$prefix" "$scratch/moved prefix"
libdir=$scratch/moved\ prefix${libdir#"$prefix"}
prefix=$scratch/moved\ prefix
cp -R -- "$root/examples/attention" "$scratch/example"
logged "the CMake package" cmake -S "$scratch/example" -B "$scratch/by-cmake" -G Ninja \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release
logged "the CMake package" cmake --build "$scratch/by-cmake"
by_cmake=$(find "$scratch/by-cmake" -maxdepth 1 -type f -executable)
LD_LIBRARY_PATH=$libdir "$by_cmake" >"$scratch/out-cmake" || fail "the example built by CMake ends with $?"

# ---- by pkg-config ---------------------------------------------------------------------------------------------------

PKG_CONFIG_PATH=$(dirname -- "$(find "$prefix" -name eabench.pc)")
export PKG_CONFIG_PATH
# pkg-config escapes blanks for a shell.
flags=()
eval "flags+=($(pkg-config --cflags --libs eabench))"
$cc -std=c17 -O2 -Wall -Wextra "$scratch"/example/*.c "${flags[@]}" -lm -o "$scratch/by-pkg-config" || fail "pkg-config"
LD_LIBRARY_PATH=$libdir "$scratch/by-pkg-config" >"$scratch/out-pkg-config" ||
    fail "the example built by pkg-config ends with $?"

cmp "$scratch/out-cmake" "$scratch/out-pkg-config" || fail "the two examples print different results"
cat "$scratch/out-cmake"
echo "install test: installed, moved, built by CMake and by pkg-config, run"
