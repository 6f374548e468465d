#!/usr/bin/env bash
# Checks the sources without running them; see --help.
set -uo pipefail
program=lint
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh" || exit 3

usage() {
    cat <<'END'
Usage: scripts/lint.sh [--fix] [--no-tidy] [FILE...]

Checks the C files (clang-format, clang-tidy with a build by clang), the order of includes
(scripts/check_rooms.sh), the shell scripts (shellcheck), the Python files (flake8: names that are undefined or
unused), and in all text files trailing blanks and the line width of 120 columns. With FILEs it checks only these.

  --fix      correct the layout of C files and trailing blanks in place
  --no-tidy  skip clang-tidy, which takes most of the time
  --help     show this

Exit codes: 0 nothing found, 1 something found, 2 misuse, 3 a tool is missing and cannot be installed.
END
}

fix=0 tidy=1 files=()
while (($#)); do
    case $1 in
        --fix) fix=1 ;;
        --no-tidy) tidy=0 ;;
        --help | -h) usage && exit 0 ;;
        -*) misuse "unknown option '$1'; allowed: --fix, --no-tidy, --help" ;;
        *)
            [[ -f $1 ]] || misuse "no file '$1'"
            files+=("$(realpath -- "$1")")
            ;;
    esac
    shift
done
"$root/scripts/setup.sh" --full --no-python || exit
cd "$root" || exit 3

if ((${#files[@]} == 0)); then
    mapfile -d '' files < <(find "$root" \( -name .git -o -name '.venv*' -o -name '*_cache' -o -name __pycache__ \
        -o -path "$root/build*" -o -path "$root/runs" -o -path "$root/results" \) -prune -o -type f -print0 | sort -z)
fi
c=() sources=() shells=() pythons=() texts=()
for file in "${files[@]}"; do
    case $file in
        "$root"/results/* | "$root"/tests/fuzz/corpus/* | *.png | *.svg | *.csv | *.html | *.patch | *.pyc) continue ;;
        *.c) sources+=("$file") c+=("$file") ;;
        *.h) c+=("$file") ;;
        *.py) pythons+=("$file") ;;
    esac
    grep -qI '' "$file" || continue # binary, or empty
    texts+=("$file")
    if [[ $(head -n 1 -- "$file" | tr -d '\0') =~ ^(\#!.*sh|\#\ shellcheck\ shell=) ]]; then shells+=("$file"); fi
done

status=0
found() {
    say "$1"
    status=1
}

# ---- includes --------------------------------------------------------------------------------------------------------

"$root/scripts/check_rooms.sh" "$root" || found "an #include points upwards"

# ---- blanks and line width -------------------------------------------------------------------------------------------

# Exempt from 120 columns: data, single words (URLs), rows of Markdown tables, values in spec files.
too_wide() {
    case $1 in *.csv | *.json | *.dict | */LICENSE) return 1 ;; esac
    awk 'length > 120 && !/^([|]|[a-z_]+ = )/ && !/^[[:blank:]]*[^[:blank:]]+$/ {
             print FILENAME ":" FNR ": " length " columns"
             bad = 1
         }
         END { exit !bad }' "$1"
}

for file in "${texts[@]}"; do
    if ((fix)); then
        sed -i 's/[[:blank:]]*$//' -- "$file"
        if [[ -n $(tail -c 1 -- "$file") ]]; then echo >>"$file"; fi
    fi
    if grep -n '[[:blank:]]$' -- "$file" /dev/null; then found "blanks at line ends (--fix)"; fi
    if [[ -n $(tail -c 1 -- "$file") ]]; then found "$file: no newline at the end (--fix)"; fi
    if too_wide "$file"; then found "lines over 120 columns"; fi
done

# ---- clang-format ----------------------------------------------------------------------------------------------------

version=$(clang-format --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
if ((fix && ${#c[@]})); then
    clang-format -i -- "${c[@]}" || found "clang-format failed"
elif [[ $version != 14 ]]; then
    say "clang-format is version $version, not 14: the layout is not checked"
elif ((${#c[@]})); then
    clang-format --dry-run --Werror -- "${c[@]}" || found "the layout differs from clang-format's (--fix)"
fi

# ---- shellcheck ------------------------------------------------------------------------------------------------------

if ((${#shells[@]})); then
    shellcheck -x -P scripts:scripts/peers -- "${shells[@]}" || found "shellcheck reports the above"
fi

# ---- flake8 ----------------------------------------------------------------------------------------------------------

if ((${#pythons[@]})); then
    flake8 --isolated --select=E9,F -- "${pythons[@]}" || found "flake8 reports the above"
fi

# ---- clang-tidy ------------------------------------------------------------------------------------------------------

if ((tidy && ${#sources[@]})); then
    configure "$root/build/clang" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang -DEAB_TESTS=ON
    quietly "writing the build's headers" cmake --build "$root/build/clang" --target eab_build_info || {
        cat -- "$log" >&2
        exit 1
    }
    database=$root/build/clang/compile_commands.json
    compiled=()
    for file in "${sources[@]}"; do
        if grep -q -F "\"$file\"" "$database"; then compiled+=("$file"); fi # examples have their own
    done
    begin=$SECONDS
    say "clang-tidy on ${#compiled[@]} files"
    if ((${#compiled[@]})) && ! printf '%s\0' "${compiled[@]}" |
        xargs -0 -n 1 -P "$(cores)" clang-tidy --quiet -p "$root/build/clang" 2> >(
            grep -v -E '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter' >&2
        ); then
        found "clang-tidy reports the above"
    fi
    say "clang-tidy took $((SECONDS - begin)) s"
fi

if ((status == 0)); then say "nothing found in ${#texts[@]} files"; fi
exit "$status"
