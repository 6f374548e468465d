#!/usr/bin/env bash
# Builds examples/attention against the library in each way that another project can, and runs it: by the CMake package
# and by pkg-config from an installed tree that was moved, from absolute install folders, below DESTDIR, and with the
# sources as a part of its own build. Paths have blanks and non-ASCII letters. The example is copied, so that it cannot
# use the rest of the tree.
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

# logged WHAT COMMAND...: shows the command's output only if it fails.
logged() {
    local what=$1
    shift
    "$@" >"$scratch/log" 2>&1 && return
    cat -- "$scratch/log" >&2
    fail "$what"
}

# run_example OUTPUT LIBDIR PROGRAM
run_example() {
    LD_LIBRARY_PATH=$2 "$3" >"$scratch/$1" || fail "the example ($1) ends with $?"
}

# by_pkg_config NAME PREFIX [SYSROOT]: builds the example with the eabench.pc below PREFIX. SYSROOT: the folder that its
# absolute paths start from.
by_pkg_config() {
    local flags=()
    PKG_CONFIG_PATH=$(dirname -- "$(find "$2" -name eabench.pc)")
    export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=${3:-}
    # pkg-config escapes blanks for a shell.
    eval "flags+=($(pkg-config --cflags --libs eabench))"
    $cc -std=c17 -O2 -Wall -Wextra "$scratch"/example/*.c "${flags[@]}" -lm -o "$scratch/$1" || fail "pkg-config: $1"
}

# by_cmake NAME PREFIX: builds the example with the CMake package below PREFIX.
by_cmake() {
    logged "the CMake package ($1)" cmake -S "$scratch/example" -B "$scratch/$1" -G Ninja \
        -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$2" -DCMAKE_BUILD_TYPE=Release
    logged "the CMake package ($1)" cmake --build "$scratch/$1"
}

cp -R -- "$root/examples/attention" "$scratch/example"
logged "cmake --install" cmake --install "$build" --prefix "$prefix"
outside=$(sed -n 's/^-- \(Installing\|Up-to-date\|Symlink\): //p' "$scratch/log" | grep -v "^$prefix/" || true)
[[ -z $outside ]] || fail "written outside the prefix: $outside"
if grep -r -l -I -F -e "$root" -e "$build" "$prefix"; then fail "these files name the source or build folder"; fi

# ---- installed files -------------------------------------------------------------------------------------------------

library=$(find "$prefix" -name 'libeabench.so')
[[ -n $library ]] || fail "no libeabench.so"
libdir=$(dirname -- "$library")
"$prefix/bin/eabench" --help >/dev/null || fail "the installed eabench does not run"
if ldd "$prefix/bin/eabench" "$library" | grep 'not found'; then fail "a library is not found"; fi

# Only the public interface is exported.
foreign=$(nm -D --defined-only "$library" |
    awk '$2 ~ /[TDBRVW]/ && $3 !~ /^eab_/ { print $3 }')
[[ -z $foreign ]] || fail "libeabench.so exports foreign names: $foreign"

# Each public header compiles alone, in C and, if a compiler is installed, in C++.
while IFS= read -r header; do
    $cc -std=c17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c "$header" || fail "$header is not C17"
    if command -v c++ >/dev/null; then
        c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ "$header" || fail "$header is not C++"
    fi
done < <(find "$prefix/include" -name '*.h')

# ---- an installed tree that has moved --------------------------------------------------------------------------------

moved=$scratch/moved/another\ plàce
mkdir -p -- "$scratch/moved"
mv -- "$prefix" "$moved"
libdir=$moved${libdir#"$prefix"}
by_cmake by-cmake "$moved"
run_example out-cmake "$libdir" "$scratch/by-cmake/attention"
by_pkg_config by-pkg-config "$moved"
run_example out-pkg-config "$libdir" "$scratch/by-pkg-config"
cmp "$scratch/out-cmake" "$scratch/out-pkg-config" || fail "the two examples print different results"
cat "$scratch/out-cmake"

# ---- the sources as a part of another build --------------------------------------------------------------------------

# The files that the library needs.
sources=$scratch/the\ sourcès
mkdir -- "$sources"
cp -R -- "$root/CMakeLists.txt" "$root/cmake" "$root/kernels" "$root/tasks" "$sources"

# parent NAME COMMAND OPTION...: configures a project that includes the sources by COMMAND, and checks that its settings
# are unchanged.
parent() {
    local folder=$scratch/$1/with\ parent
    mkdir -p -- "$folder"
    cp -- "$scratch"/example/*.c "$folder"
    cat >"$folder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.22)
project(parent LANGUAGES C)
set(known CMAKE_BUILD_TYPE CMAKE_C_STANDARD CMAKE_C_FLAGS CMAKE_C_VISIBILITY_PRESET CMAKE_CUDA_ARCHITECTURES
    CMAKE_RUNTIME_OUTPUT_DIRECTORY CMAKE_LIBRARY_OUTPUT_DIRECTORY CMAKE_POSITION_INDEPENDENT_CODE)
foreach(name IN LISTS known)
  set(before_\${name} "\${\${name}}")
endforeach()
$2
foreach(name IN LISTS known)
  if(NOT "\${\${name}}" STREQUAL "\${before_\${name}}")
    message(FATAL_ERROR "\${name} was changed: '\${\${name}}'")
  endif()
endforeach()
foreach(name COMPILE_OPTIONS COMPILE_DEFINITIONS LINK_OPTIONS INCLUDE_DIRECTORIES)
  get_directory_property(value \${name})
  if(value)
    message(FATAL_ERROR "\${name} was set: '\${value}'")
  endif()
endforeach()
enable_testing()
add_executable(attention attention.c)
target_link_libraries(attention PRIVATE eabench::eabench m)
install(TARGETS attention)
END
    logged "$1" cmake -S "$folder" -B "$folder/build" -G Ninja -DCMAKE_C_COMPILER="$cc" "${@:3}"
    if ! (cd -- "$folder/build" && ctest -N) | grep -q '^Total Tests: 0'; then fail "$1: adds tests to the parent"; fi
}

# shellcheck disable=SC2016 # CMake's variables
parent FetchContent 'include(FetchContent)
FetchContent_Declare(eabench SOURCE_DIR "${FETCHED}")
FetchContent_MakeAvailable(eabench)' -DFETCHED="$sources"
logged "FetchContent" ninja -C "$scratch/FetchContent/with parent/build" CMakeFiles/attention.dir/attention.c.o

# shellcheck disable=SC2016 # CMake's variables
parent add_subdirectory 'add_subdirectory("${SOURCES}" "${CMAKE_BINARY_DIR}/library folder")' -DSOURCES="$sources"
within=$scratch/add_subdirectory/with\ parent/build
logged "add_subdirectory" cmake --build "$within"
[[ -f "$within/library folder/libeabench.so" ]] || fail "add_subdirectory: the library is not in its folder"
foreign=$(find "$within" -maxdepth 1 -type f -executable ! -name attention)
[[ -z $foreign ]] || fail "add_subdirectory: also built: $foreign"
run_example out-subdirectory '' "$within/attention"
cmp "$scratch/out-cmake" "$scratch/out-subdirectory" || fail "add_subdirectory: different results"
logged "install" cmake --install "$within" --prefix "$scratch/parent prefix"
foreign=$(find "$scratch/parent prefix" -type f ! -name attention)
[[ -z $foreign ]] || fail "add_subdirectory: the parent also installs $foreign"

# ---- absolute folders, and DESTDIR -----------------------------------------------------------------------------------

# packaged NAME LIBDIR INCLUDEDIR STAGE [SYSROOT]: installs the library that was built above below DESTDIR=STAGE, with
# these folders, and builds the example with it. SYSROOT: for absolute folders; pkg-config allows no blank in it.
packaged() {
    local folder=$scratch/$1 stage=$4 library
    logged "$1: configure" cmake -S "$sources" -B "$folder/build" -G Ninja -DCMAKE_C_COMPILER="$cc" -DEAB_HOST=OFF \
        -DEAB_TESTS=OFF -DEAB_CUDA=OFF -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="/opt/ea bench" \
        -DCMAKE_INSTALL_LIBDIR="$2" -DCMAKE_INSTALL_INCLUDEDIR="$3"
    cp -P -- "$within/library folder"/libeabench.so* "$folder/build"
    DESTDIR=$stage logged "$1: install" cmake --install "$folder/build"
    library=$(find "$stage" -name libeabench.so)
    [[ -n $library ]] || fail "$1: no libeabench.so below DESTDIR"
    by_pkg_config "$1-pkg-config" "$stage" "${5:-}"
    run_example "out-$1" "$(dirname -- "$library")" "$scratch/$1-pkg-config"
    cmp "$scratch/out-cmake" "$scratch/out-$1" || fail "$1: different results"
}
packaged relative 'lib/deep er' include "$scratch/stàge for packages"
packaged absolute '/opt/other/lib' '/usr/local/include/ea bench' "$scratch/stage" "$scratch/stage"

echo "install test: by CMake, pkg-config, FetchContent, add_subdirectory; moved, absolute, below DESTDIR: all run"
