#!/usr/bin/env bash
# eabench beside PyTorch and JAX; see --help.
set -uo pipefail
program=peers
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh" || exit 3

usage() {
    cat <<'END'
Usage: scripts/peers/run.sh [--gpu] [--out DIR] [--quick] [OPTION...]

Builds eabench, sets up the peers (scripts/peers/setup), and measures ours and theirs in turn (ours, theirs, ours, theirs)
on the same two cores, a process of one thread on each; attention on one. Writes DIR/pairs.csv as it goes, then kernels.csv,
throughput.csv and ratios.csv, which it prints. The same line goes on where a run was stopped.

  --gpu                  on the GPU, with the PyTorch, JAX and Triton that this machine's python3 has; installs nothing
                         and needs no network. EAB_PEERS_PYTHON names another Python.
  --out DIR              by default runs/peers
  --quick                fewer shapes
  --only WHAT            attention or training
  --implementations LIST these peers, between commas
  --pairs N              pairs for each ratio (default: 5)
  --seconds S            for a sample of attention (default: 0.1), as eabench bench --max-seconds
  --training-seconds S   of training for a sample (default: 0.5)
  --time-limit S         stop after this time
  --no-build             take the eabench that is there (EABENCH names it)
  --help                 show this

Exit codes: 0 done, 1 the build failed, 2 misuse, 3 something is missing, 130 stopped.
END
}

out=$root/runs/peers gpu=0 build=1 options=()
while (($#)); do
    case $1 in
        --gpu) gpu=1 options+=("$1") ;;
        --quick) options+=("$1") ;;
        --no-build) build=0 ;;
        --out | --only | --implementations | --pairs | --seconds | --training-seconds | --time-limit)
            [[ -n ${2:-} ]] || misuse "$1 needs a value"
            if [[ $1 == --out ]]; then out=$2; else options+=("$1" "$2"); fi
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
    "$python" -c 'import torch, numpy, safetensors' 2>/dev/null ||
        lacking "'$python' has no PyTorch, NumPy and safetensors; EAB_PEERS_PYTHON names a Python that has"
else
    "$root/scripts/peers/setup" || exit
    python=${EAB_PEERS_VENV:-$root/.venv-peers}/bin/python
fi
if ((build)); then
    cuda=OFF
    if ((gpu)); then cuda=ON; fi
    configure "$root/build/peers" -DCMAKE_BUILD_TYPE=Release -DEAB_TESTS=OFF -DEAB_CUDA="$cuda"
    quietly "building build/peers" cmake --build "$root/build/peers" || {
        cat -- "${log:?}" >&2
        exit 1
    }
    EABENCH=$root/build/peers/eabench
fi
EABENCH=${EABENCH:-$root/build/release/eabench}
[[ -x $EABENCH ]] || lacking "$EABENCH is not there; without --no-build it is built"
if [[ -z ${EABENCH_LIBRARY:-} ]]; then
    EABENCH_LIBRARY=$(find "$(dirname -- "$EABENCH")" -name libeabench.so | head -n 1)
fi
export EABENCH_LIBRARY
cd "$root/scripts" || exit 3
PYTHONDONTWRITEBYTECODE=1 exec "$python" -m peers.compare --eabench "$EABENCH" --out "$out" "${options[@]}"
