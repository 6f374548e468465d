#!/usr/bin/env bash
# Vector operations of attention per vector of pairs, besides its products: without loads, stores and moves, and the
# divisions among them (kernels/cpu/README.md, "Budget"). CC: the compiler.
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." || exit 3
flags=(-O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2
    -mfma -mprefer-vector-width=512)
"${CC:-cc}" "${flags[@]}" -I. -S tests/kernels/budget.c -o - | awk '
    /# BEGIN/ { sub(/.*# BEGIN /, ""); name = $0; operations = divisions = 0; next }
    /# END/ && name != "" { printf "%-26s %2d operations, %d division\n", name, operations, divisions; name = "" }
    name != "" && $1 ~ /^v/ && $1 !~ /^vmov/ { operations++ }
    name != "" && $1 ~ /^vdiv/ { divisions++ }'
