#!/usr/bin/env bash
# Installs what building, testing and plotting need and the machine lacks; see --help.
set -uo pipefail
program=setup
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh" || exit 3

usage() {
    cat <<'END'
Usage: scripts/setup.sh [--no-tests] [--no-python] [--full] [--aarch64] [--build DIR [CMAKE OPTION...]]

Installs the packages that eabench is built and tested with (Debian 12, Ubuntu 22.04 and newer; as root or with sudo)
and makes a Python environment in .venv (or $EAB_VENV) for the analysis scripts. A second run finds everything in place
and needs no network.

  --no-tests   skip what only the tests need (Criterion, clang, MPI, Slurm, pytest)
  --no-python  skip the Python environment
  --full       also install what scripts/lint.sh and scripts/test.sh --full need
  --aarch64    also install what the cross build for 64-bit ARM and its tests need
  --build DIR  then configure (Release) and build in DIR; the arguments after DIR go to CMake
  --help       show this

Exit codes: 0 done, 1 the build failed, 2 misuse, 3 something is missing and cannot be installed.
END
}

tests=1 python=1 full=0 aarch64=0 build=''
while (($#)); do
    case $1 in
        --no-tests) tests=0 ;;
        --no-python) python=0 ;;
        --full) full=1 ;;
        --aarch64) aarch64=1 ;;
        --build)
            [[ -n ${2:-} && $2 != -* ]] || misuse "--build needs a folder"
            case $2 in /*) build=$2 ;; *) build=$PWD/$2 ;; esac
            shift 2
            break
            ;;
        --help | -h) usage && exit 0 ;;
        *) misuse "unknown option '$1'; allowed: --no-tests, --no-python, --full, --aarch64, --build DIR, --help" ;;
    esac
    shift
done
[[ ! $build -ef $root ]] || misuse "--build needs another folder than the tree's root, such as build/release"

# ---- what is needed, and whether it is installed ---------------------------------------------------------------------

# The compiler that CMake will use.
compiler() {
    local name
    for name in ${CC:+"$CC"} cc gcc clang; do
        command -v "${name%% *}" >/dev/null && printf '%s' "$name" && return
    done
    return 1
}

compiles() { # a line of C
    local cc
    # shellcheck disable=SC2086 # $CC may hold options
    cc=$(compiler) && printf '%s\n' "$1" | $cc -std=c17 -fsyntax-only -x c - 2>/dev/null
}

cmake_is_new_enough() {
    local version
    version=$(cmake --version 2>/dev/null | sed -n '1s/^cmake version //p')
    [[ -n $version && $(printf '3.22\n%s\n' "$version" | sort -V | head -n 1) == 3.22 ]]
}

# Prints the interpreter for the environment: 3.10 to 3.13, with venv and ensurepip. It prints its own path, since
# python3 may be a shim that depends on the folder.
find_python() {
    local name
    for name in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
        "$name" -c '
import ensurepip, os, sys, venv
if not (3, 10) <= sys.version_info[:2] <= (3, 13): sys.exit(1)
print(getattr(sys, "_base_executable", None) or sys.executable)' 2>/dev/null && return
    done
    return 1
}

# $venv/eabench-setup records what was installed: "python VERSION", "run HASH", "test HASH" (of the requirement files),
# or "unfinished".
stamp=$venv/eabench-setup
hash_of() { (cd "$root/scripts" && cat -- "$@" | sha256sum | cut -c 1-64); }
venv_tag() { "$venv/bin/python" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null; }
venv_has() { grep -q -x -F -e "$1" "$stamp" 2>/dev/null; }
venv_is_ready() { venv_has "python $(venv_tag)" && venv_has "$wanted"; }

# Each need: its name, the test for it, the Debian packages.
needs=()
need() { needs+=("$1" "$2" "$3"); }
# The same for optional packages: without them some tests are skipped.
optional=()
option() { optional+=("$1" "$2" "$3"); }
need 'a C compiler' "compiles '#include <stdio.h>'" 'gcc libc6-dev'
need 'CMake 3.22 or newer' cmake_is_new_enough cmake
need 'Ninja' 'command -v ninja' ninja-build
need 'pkg-config' 'command -v pkg-config' pkg-config
need 'GLib 2.72 or newer' "pkg-config --exists 'glib-2.0 >= 2.72'" libglib2.0-dev
if ((tests)); then
    need 'Criterion' "compiles '#include <criterion/criterion.h>'" libcriterion-dev
    need 'clang' 'command -v clang' clang
    option 'Slurm' 'ls /usr/sbin/slurmctld /usr/sbin/slurmd /usr/bin/srun' 'slurmctld slurmd slurm-client'
    option 'valgrind' 'command -v valgrind' valgrind
    option 'MPI' 'command -v mpicc && command -v mpirun' 'libopenmpi-dev openmpi-bin'
fi
if ((full)); then
    need 'clang-tidy' 'command -v clang-tidy' clang-tidy
    need 'clang-format' 'command -v clang-format' clang-format
    need 'valgrind' 'command -v valgrind' valgrind
    need 'shellcheck' 'command -v shellcheck' shellcheck
    need 'flake8' 'command -v flake8' flake8
fi
if ((aarch64)); then
    need 'a C compiler for 64-bit ARM' 'command -v aarch64-linux-gnu-gcc' 'gcc-aarch64-linux-gnu libc6-dev-arm64-cross'
    need 'qemu for 64-bit ARM' 'command -v qemu-aarch64-static' qemu-user-static
fi
if ((python)); then
    requirements=(requirements.txt)
    if ((tests)); then requirements+=(requirements-dev.txt); fi
    wanted="run $(hash_of requirements.txt)"
    if ((tests)); then wanted="test $(hash_of requirements.txt requirements-dev.txt)"; fi
    venv_is_ready || need 'Python 3.10 to 3.13 with venv' find_python 'python3 python3-venv'
fi

# Sets `missing` (names) and `packages`.
find_missing() {
    local i
    missing=() packages=()
    for ((i = 0; i < ${#needs[@]}; i += 3)); do
        if ! eval "${needs[i + 1]}" >/dev/null 2>&1; then
            missing+=("${needs[i]}")
            # shellcheck disable=SC2206 # several packages
            packages+=(${needs[i + 2]})
        fi
    done
}

list() {
    local IFS=,
    printf '%s' "${*}" | sed 's/,/, /g'
}

install_packages() {
    local apt as_root=() id hint=''
    id=$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}")
    command -v apt-get >/dev/null ||
        lacking "this is ${id:-an unknown system}, which has no apt-get; install by hand: $(list "${missing[@]}")"
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            lacking "neither root nor sudo here; have these packages installed: ${packages[*]}"
        if ! sudo -n true 2>/dev/null; then
            [[ -t 0 && -t 2 ]] ||
                lacking "sudo wants a password and there is no terminal; have these packages installed: ${packages[*]}"
            sudo -v || lacking "sudo refused; have these packages installed: ${packages[*]}"
        fi
        as_root=(sudo)
    fi
    apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2)
    # An unrelated source may fail to update; installing shows whether ours did.
    quietly "missing: $(list "${missing[@]}"); updating the package lists" "${apt[@]}" update || rm -f -- "$log"
    if ! quietly "installing ${packages[*]}" "${apt[@]}" install --no-install-recommends "${packages[@]}"; then
        if grep -q -E 'Unable to locate|no installation candidate' "$log" && [[ $id == ubuntu ]]; then
            hint='; the component "universe" is needed (sudo add-apt-repository universe)'
        elif grep -q -E 'Could not (resolve|connect)|Temporary failure|Failed to fetch|Unable to locate' "$log"; then
            hint='; is there a network?'
        fi
        lacking "apt-get cannot install ${packages[*]}: $(grep '^E: ' "$log" | head -n 1 | cut -c 4-)$hint (log: $log)"
    fi
    find_missing
    ((${#missing[@]} == 0)) ||
        lacking "still missing after installing ${packages[*]}: $(list "${missing[@]}");" \
            "does PATH name an older one first?"
}

# ---- Python ----------------------------------------------------------------------------------------------------------

make_venv() {
    local interpreter file options=() before=''
    if [[ -e $venv && ! -f $venv/pyvenv.cfg ]] && { [[ ! -d $venv ]] || [[ -n $(ls -A -- "$venv") ]]; }; then
        misuse "$venv (EAB_VENV) exists and is not a Python environment"
    fi
    if venv_has "python $(venv_tag)"; then # made by this script: only add what is new
        before=$(<"$stamp")
    elif [[ -f $venv/pyvenv.cfg && $venv != "$root/.venv" && ! -f $stamp ]]; then # made by the user: add to it
        [[ -n $(venv_tag) ]] || lacking "the Python of $venv (EAB_VENV) does not run; remove that folder"
    else # missing, unfinished, or of a Python that is no longer installed
        interpreter=$(find_python) || lacking "no Python 3.10 to 3.13 with venv found"
        quietly "making a Python environment in $(short "$venv") with $interpreter" \
            "$interpreter" -m venv --clear "$venv" ||
            lacking "$interpreter cannot make $venv: $(tail -n 1 "$log") (log: $log)"
    fi
    echo unfinished >"$stamp" || lacking "cannot write $stamp"
    for file in "${requirements[@]}"; do options+=(-r "$root/scripts/$file"); done
    if ! quietly "installing the Python packages of scripts/${requirements[-1]}" "$venv/bin/python" -m pip install \
        --disable-pip-version-check --no-input --only-binary :all: "${options[@]}"; then
        [[ -z $before ]] || printf '%s\n' "$before" >"$stamp" # pip has restored the former state
        lacking "pip cannot install scripts/${requirements[-1]}: $(sed -n 's/^ERROR: //p' "$log" | tail -n 1)$(
            if grep -q -i -E 'ConnectionError|connection broken|resol|refused|unreachable|timed out' "$log"; then
                printf '; is there a network?'
            fi
        ) (log: $log)"
    fi
    {
        echo "python $(venv_tag)"
        echo "run $(hash_of requirements.txt)"
        if ((tests)); then echo "$wanted"; fi
    } >"$stamp" || lacking "cannot write $stamp"
}

# ----------------------------------------------------------------------------------------------------------------------

# One setup at a time in one tree, where the file system has locks.
exec {lock}<"$root/scripts" && flock "$lock" 2>/dev/null
find_missing
if ((${#missing[@]})); then install_packages; fi
for ((i = 0; i < ${#optional[@]}; i += 3)); do
    eval "${optional[i + 1]}" >/dev/null 2>&1 && continue
    # In a subshell, which alone ends where a package cannot be installed.
    (needs=("${optional[@]:i:3}") && find_missing && install_packages) ||
        say "no ${optional[i]}: the tests that need it are skipped"
done
if ((python)) && ! venv_is_ready; then make_venv; fi
exec {lock}<&-

if [[ -n $build ]]; then
    options=(-DCMAKE_BUILD_TYPE=Release)
    if ((!tests)); then options+=(-DEAB_TESTS=OFF); fi
    configure "$build" "${options[@]}" "$@"
    cmake --build "$build" || exit 1
fi
