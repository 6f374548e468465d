#!/usr/bin/env bash
# Takes a bare machine to a report; see --help.
set -uo pipefail
program=quickstart
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh" || exit 3

usage() {
    cat <<'END'
Usage: scripts/quickstart.sh [--out DIR] [SWEEP OPTION...]

Installs what is missing (scripts/setup.sh), builds eabench, runs the quick ladder (tasks/ladders/quick.ini) on the GPU
or the processor, and renders plots and a report. A second start resumes where the first one stopped.

  --out DIR     the run's folder; runs/quick by default
  SWEEP OPTION  for "eabench sweep", such as --workers 1, --time-limit 60 or --set train.seed=1:5 (with its own --out)
  --help        show this

Exit codes: 0 done, 1 the build or cells failed, 2 misuse, 3 something is missing and cannot be installed, 130 stopped.
END
}

out=$root/runs/quick options=() dry=0
while (($#)); do
    case $1 in
        --out)
            [[ -n ${2:-} ]] || misuse "--out needs a folder"
            out=$2
            shift
            ;;
        --out=?*) out=${1#--out=} ;;
        --help | -h) usage && exit 0 ;;
        --dry-run) dry=1 options+=("$1") ;;
        *) options+=("$1") ;;
    esac
    shift
done
case $out in /*) ;; *) out=$PWD/$out ;; esac

"$root/scripts/setup.sh" --no-tests || exit

# CUDA code for the installed GPUs only: building for every architecture takes longer than the ladder itself.
cuda=(-DEAB_CUDA=OFF)
architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
    sed -n 's/^9\.0$/90a-real/p; t; s/^\([0-9]*\)\.\([0-9]\)$/\1\2-real/p' | sort -u | paste -sd ';' -)
if [[ -n $architectures ]]; then cuda=(-DEAB_CUDA=AUTO "-DCMAKE_CUDA_ARCHITECTURES=$architectures"); fi

build=$root/build/release
if [[ -f $build/CMakeCache.txt ]]; then # keeps its configuration, with or without tests
    configure "$build" -DCMAKE_BUILD_TYPE=Release
else
    configure "$build" -DCMAKE_BUILD_TYPE=Release -DEAB_TESTS=OFF "${cuda[@]}"
fi
quietly "building $(short "$build")/eabench" cmake --build "$build" --target eab_installed || {
    cat -- "$log" >&2
    say "the build failed: see above"
    exit 1
}

say "running the quick ladder in $(short "$out")"
"$build/eabench" sweep "$root/tasks/ladders/quick.ini" --out "$out" "${options[@]}"
status=$?
((status == 0)) || exit "$status" # eabench has reported why
((!dry)) || exit 0

say "rendering plots and report"
EAB_PYTHON=$venv/bin/python "$root/scripts/report" "$out" >/dev/null || exit

here=$(short "$out")
cat <<END

tables   $here/accuracy.csv
         $here/throughput.csv
plots    $here/plots/
report   $here/report.html
END
