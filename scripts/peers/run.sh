#!/usr/bin/env bash
# Measures eabench beside PyTorch and JAX; see --help.
set -uo pipefail
program=peers
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh" || exit 3

usage() {
    cat <<'END'
Usage: scripts/peers/run.sh [--gpu] [--out DIR] [--quick] [--resume] [OPTION...]

Builds eabench, sets up the peers (scripts/peers/setup), and measures eabench and each peer in turn (ours, theirs, ours,
theirs) on the same two cores, with a process of one thread on each; attention on one core. Appends each pair to
DIR/pairs.csv, first those that the goals and docs/benchmarks.md need. Then writes kernels.csv, throughput.csv and
ratios.csv, and prints the ratios.

  --gpu                  on the GPU, with the PyTorch, JAX and Triton of this machine's python3; installs nothing and
                         needs no network. EAB_PEERS_PYTHON names another Python.
  --out DIR              default: runs/peers. Tables of an earlier run are moved to DIR/before
  --resume               continue the run in DIR and keep its pairs
  --time-limit TIME      stop after this time (default: 2100); measured pairs are kept
  --quick                fewer shapes
  --dry-run              print what would be measured and the expected time, from the times of the run in DIR
  --prepare              only compile for torch.compile, FlexAttention and JAX: a later run finds the code in their
                         caches and has more of its time for measuring
  --text FILE            also the model of tasks/ladders/text.ini, on this text (UTF-8, such as Tiny Shakespeare)
  --only WHAT            attention, training or text
  --implementations LIST these peers, separated by commas
  --pairs N              pairs for each ratio (default: 5; 3 with --gpu, and where a pair takes longer than 3 s)
  --fleet N              with --gpu: models that eabench trains at once (default: 512)
  --seconds TIME         time for a sample of attention (default: 0.1), as eabench bench --max-seconds
  --training-seconds TIME
                         time for a sample of training (default: 0.4)
  --device cpu           with --gpu: the same on the processor, as a test
  --no-build             use the program of an earlier build (EABENCH names it)
  --help                 show this

A TIME is seconds, or like 90s, 10m, 1h30m, 2d.
Exit codes: 0 done, 1 the build failed, 2 misuse, 3 something is missing, 130 stopped.
END
}

out=$root/runs/peers gpu=0 build=1 options=()
while (($#)); do
    case $1 in
        --gpu) gpu=1 options+=("$1") ;;
        --quick | --resume | --prepare | --dry-run) options+=("$1") ;;
        --no-build) build=0 ;;
        --out | --only | --implementations | --pairs | --fleet | --seconds | --training-seconds | --time-limit | \
            --device | --text)
            [[ -n ${2:-} ]] || misuse "$1 needs a value"
            case $1 in
                --out) out=$2 ;;
                --text) options+=("$1" "$(realpath -m -- "$2")") ;; # the measuring process has another folder
                *) options+=("$1" "$2") ;;
            esac
            shift
            ;;
        --help | -h) usage && exit 0 ;;
        *) misuse "unknown option '$1'" ;;
    esac
    shift
done
case $out in /*) ;; *) out=$PWD/$out ;; esac

if ((gpu)); then
    python=${EAB_PEERS_PYTHON:-python3}
    "$python" -c 'import numpy, torch' 2>/dev/null || "$python" -c 'import jax, numpy' 2>/dev/null ||
        lacking "'$python' lacks NumPy, or both PyTorch and JAX; set EAB_PEERS_PYTHON to a Python that has them"
else
    "$root/scripts/peers/setup" || exit
    python=${EAB_PEERS_VENV:-$root/.venv-peers}/bin/python
fi
if ((build)); then
    cuda=(-DEAB_CUDA=OFF)
    if ((gpu)); then
        capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -cd 0-9)
        case $capability in '') lacking 'no NVIDIA driver is installed' ;; 90) capability=90a ;; esac
        cuda=(-DEAB_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$capability-real")
    fi
    configure "$root/build/peers" -DCMAKE_BUILD_TYPE=Release -DEAB_TESTS=OFF "${cuda[@]}"
    quietly "building build/peers" cmake --build "$root/build/peers" || {
        cat -- "${log:?}" >&2
        exit 1
    }
    EABENCH=$root/build/peers/eabench
fi
EABENCH=$(realpath -m -- "${EABENCH:-$root/build/release/eabench}") # the measuring process has another folder
[[ -x $EABENCH ]] || lacking "$EABENCH does not exist; omit --no-build to build it"
if [[ -z ${EABENCH_LIBRARY:-} ]]; then
    EABENCH_LIBRARY=$(find "$(dirname -- "$EABENCH")" -name libeabench.so | head -n 1)
fi
[[ -z $EABENCH_LIBRARY ]] || EABENCH_LIBRARY=$(realpath -m -- "$EABENCH_LIBRARY")
export EABENCH_LIBRARY
cd "$root/scripts" || exit 3
PYTHONDONTWRITEBYTECODE=1 exec "$python" -m peers.compare --eabench "$EABENCH" --out "$out" "${options[@]}"
