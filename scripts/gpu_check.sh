#!/usr/bin/env bash
# Checks eabench on this machine's GPU, from the build to a ladder; see --help.
# shellcheck disable=SC2317 # parts are called by constructed names
set -uo pipefail
program='gpu_check'
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh" || exit 3

all_parts=(build check ladder compare bench peers sanitize)

usage() {
    cat <<END
Usage: scripts/gpu_check.sh [--only PART[,PART]...] [--emulated] [--binary PATH] [--no-build] [--device N] [--out DIR]

Runs these parts and ends with a table of their results:

  build     eabench with code for this GPU, in build/gpu-check
  check     every operation against float64: eabench check, with cuBLAS and with our own products
  ladder    tasks/ladders/gpu.ini: 1,280 models; all mechanisms, 8 levels, 4 rates, 10 seeds
  compare   100 steps on GPU and processor: losses equal to 1e-3; then some cells of the ladder on the processor:
            scripts/compare
  bench     kernels' speeds and errors: the main rows of eabench bench --tag gpu
  peers     attention and training against python3's PyTorch, JAX and Triton (EAB_PEERS_PYTHON names another Python):
            scripts/peers/run.sh --gpu --quick
  sanitize  the checks under compute-sanitizer: memcheck, racecheck, initcheck, in the remaining time

  --only PART    these parts only
  --emulated     without a GPU: the same parts in miniature; tests/ptx runs the kernels on the processor
  --binary PATH  use this program, for example one of the preset \`static\`, instead of building
  --no-build     use the program of an earlier build
  --device N     index of the GPU (default: 0)
  --out DIR      folder for all output (default: results/NAME OF THE GPU)
  --help         show this

Takes at most 8 minutes, the build included: each part has a time limit and ends when the 8 minutes do. (--emulated has
no such limit.) The build needs gcc, CMake 3.22, pkg-config, GLib 2.72 and nvcc, but no network. If libcublas is not on
the loader's path, one from a Python package (PyTorch, JAX) is used.
Exit codes: 0 all parts passed or were skipped, 1 a part failed, 2 misuse, 3 something is missing.
END
}

parts=() emulated=0 binary='' no_build=0 device=0 out=''
while (($#)); do
    case $1 in
        --only)
            [[ -n ${2:-} ]] || misuse "--only needs a part; allowed: ${all_parts[*]}"
            IFS=, read -r -a parts <<<"$2"
            shift
            ;;
        --emulated) emulated=1 ;;
        --binary)
            [[ -n ${2:-} ]] || misuse '--binary needs the path of a program'
            [[ -x $2 && ! -d $2 ]] || misuse "--binary: $2 is not a program"
            binary=$(realpath -- "$2")
            shift
            ;;
        --no-build) no_build=1 ;;
        --device)
            [[ ${2:-} =~ ^[0-9]{1,3}$ ]] || misuse "--device needs a number"
            device=$((10#$2))
            shift
            ;;
        --out)
            [[ -n ${2:-} ]] || misuse '--out needs the name of a folder'
            out=$2
            shift
            ;;
        --help | -h) usage && exit 0 ;;
        *) misuse "unknown option '$1'; allowed: --only, --emulated, --binary, --no-build, --device, --out, --help" ;;
    esac
    shift
done
((${#parts[@]})) || parts=("${all_parts[@]}")
for part in "${parts[@]}"; do
    [[ " ${all_parts[*]} " == *" $part "* ]] || misuse "unknown part '$part'; allowed: ${all_parts[*]}"
done

# ---- the machine -----------------------------------------------------------------------------------------------------

if ((emulated)); then
    gpu=emulated build=$root/build/cuda-sm90a # of the stages cuda and emulated
    eabench=${binary:-$build/eabench_ptx}
    export EAB_CUDA_PRODUCT=own
    export EAB_PTX_MEMORY_MIB=190 # with more, the peak is measured, which takes minutes
else
    build=$root/build/gpu-check
    eabench=${binary:-$build/eabench}
    export CUDA_DEVICE_ORDER=PCI_BUS_ID # nvidia-smi's numbers
    command -v nvidia-smi >/dev/null || lacking 'no nvidia-smi, so no NVIDIA driver, here (--emulated needs none)'
    gpu=$(nvidia-smi --id="$device" --query-gpu=name --format=csv,noheader 2>/dev/null) || gpu=''
    [[ -n $gpu ]] || lacking "the driver has no GPU $device"
    capability=$(nvidia-smi --id="$device" --query-gpu=compute_cap --format=csv,noheader | tr -cd 0-9)
    case $capability in 90) architecture=90a-real ;; *) architecture=$capability-real ;; esac
fi
out=${out:-$root/results/$(tr -c 'A-Za-z0-9._\n-' '-' <<<"$gpu")}
mkdir -p -- "$out" || lacking "cannot make the folder $out"
out=$(realpath -- "$out")

# left SECONDS: the smaller of SECONDS and the rest of the 8 minutes, at least 1.
left() {
    local rest=$((emulated ? $1 : 470 - SECONDS))
    ((rest > 0)) || rest=1
    echo $((rest < $1 ? rest : $1))
}

# limited SECONDS COMMAND...: returns 124 or 137 if the time ran out. Sends KILL to a program that ignores TERM.
limited() {
    local seconds
    seconds=$(left "$1")
    shift
    timeout --kill-after=10 "$seconds" "$@"
}

# Adds a Python package's cuBLAS to the loader's path, if neither the loader nor the toolkit has one.
if ((!emulated)) && ! ldconfig -p 2>/dev/null | grep -q 'libcublas\.so\.' &&
    ! compgen -G '/usr/local/cuda/lib64/libcublas.so.*' >/dev/null; then
    cublas=$(python3 -c 'import glob, site, sysconfig
places = {*site.getsitepackages(), sysconfig.get_paths()["purelib"]}
print(*sorted(path for place in places for path in glob.glob(place + "/nvidia/*/lib/libcublas.so.*")), sep="\n")' \
        2>/dev/null | tail -n 1)
    if [[ -n $cublas ]]; then
        export LD_LIBRARY_PATH=${cublas%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        say "cuBLAS: $cublas"
    fi
fi

rows=() failed=0
# row PART VERDICT DETAIL...
row() {
    local verdict=$2
    [[ $verdict != FAILED ]] || failed=1
    rows+=("$(printf '%-9s %-8s %s' "$1" "$verdict" "${*:3}")")
    say "${rows[-1]}"
}
has_command() { "$eabench" "$1" --help >/dev/null 2>&1; }
why() { case $1 in 124 | 137) echo 'the time limit was reached' ;; *) echo "exit code $1" ;; esac; }

# ---- the parts -------------------------------------------------------------------------------------------------------

part_build() {
    local options targets=(eabench eabench_library) begin=$SECONDS # the library is for the peers
    if [[ -n $binary ]] || ((no_build)); then
        row build skipped "$(short "$eabench") is used"
        return
    fi
    if ((emulated)); then
        options=(-DEAB_CUDA=ON -DEAB_TESTS=OFF -DEAB_EMULATOR=ON "-DCMAKE_CUDA_ARCHITECTURES=80-virtual;90a-real")
        targets=(eabench_ptx)
    else
        options=(-DEAB_CUDA=ON -DEAB_TESTS=OFF "-DCMAKE_CUDA_ARCHITECTURES=$architecture")
    fi
    "${PKG_CONFIG:-pkg-config}" --atleast-version=2.72 glib-2.0 2>/dev/null ||
        lacking 'the build needs pkg-config and GLib 2.72: install both (conda-forge has them), or use --binary PATH'
    configure "$build" -DCMAKE_BUILD_TYPE=Release "${options[@]}"
    if quietly "building $(short "$build")" \
        limited $((emulated ? 1800 : 400)) cmake --build "$build" --target "${targets[@]}" -j "$(cores)"; then
        row build passed "$((SECONDS - begin)) s${architecture:+, sm_${architecture%-real}}"
    else
        cp -- "$log" "$out/build.txt"
        row build FAILED "see $(short "$out/build.txt")"
    fi
}

# one_check NAME LIMIT COMMAND...: runs `eabench check`, with its table in NAME.txt, and adds its summary to `counted`.
# Returns 124 if the time ran out.
one_check() {
    local name=$1 limit=$2 status last
    shift 2
    limited "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null
    status=$?
    last=$(grep -E '^[0-9]+ checks, [0-9]+ missed$' "$out/$name.txt" | tail -n 1)
    counted+="${counted:+; }$name: ${last:-no result}"
    ((status == 0)) && return
    counted+=" ($(why "$status"), see $(short "$out/$name.txt"))"
    [[ $status != 124 && $status != 137 ]] || return 124
    return 1
}

# The device and the products' implementation: from the first line of `eabench check`.
checked_by() { sed -n 's/^[a-z]*: \(.*\)$/\1/p;1q' "$out/$1.txt" 2>/dev/null; }

# On the emulator some operations: the stage emulated of scripts/test.sh checks all.
check_command() {
    printf '%s\0' "$eabench" check --backend cuda --device "$device"
    ((!emulated)) || printf '%s\0' --op norm,loss,adamw
}

part_check() {
    local counted='' verdict=passed command
    mapfile -d '' command < <(check_command)
    if ((emulated)); then
        one_check check 300 "${command[@]}" || verdict=FAILED
    else
        one_check check 60 "${command[@]}" || verdict=FAILED
        counted+=" ($(checked_by check))"
        one_check check-own-products 60 env EAB_CUDA_PRODUCT=own "${command[@]}" || verdict=FAILED
    fi
    row check "$verdict" "$counted"
}

part_sanitize() {
    local counted='' verdict=passed command tool
    mapfile -d '' command < <(check_command)
    command+=(--failures)
    if ((emulated)); then # its checks are always on; this run has another order of threads
        one_check emulated-seed-2 300 env EAB_PTX_SEED=2 "${command[@]}" || verdict=FAILED
        row sanitize "$verdict" "$counted"
        return
    fi
    if ! command -v compute-sanitizer >/dev/null; then
        row sanitize skipped 'there is no compute-sanitizer'
        return
    fi
    for tool in memcheck racecheck initcheck; do # our own products only: cuBLAS is slow under it
        if (($(left 60) < 10)); then # too short for a result
            counted+="${counted:+; }$tool: no time left, --only sanitize runs it"
            [[ $verdict == FAILED ]] || verdict=partial
            continue
        fi
        one_check "$tool" 120 env EAB_CUDA_PRODUCT=own compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "${command[@]}"
        case $? in
            0) ;;
            124) # its findings so far count; its first line is its name
                if grep -v COMPUTE-SANITIZER "$out/$tool.txt" | grep -q '^========='; then verdict=FAILED; fi
                [[ $verdict == FAILED ]] || verdict=partial
                ;;
            *) verdict=FAILED ;;
        esac
        if grep -q 'Device not supported' "$out/$tool.txt"; then # in some virtual machines
            row sanitize skipped 'compute-sanitizer does not support this device'
            return
        fi
    done
    row sanitize "$verdict" "$counted"
}

# one_bench LIMIT OPTION...: adds rows to bench/kernels.csv, each as soon as it is measured.
one_bench() {
    limited "$1" "$eabench" bench --backend cuda --device "$device" --out "$out/bench" "${@:2}" \
        >>"$out/bench.txt" 2>&1 </dev/null
}

# About 60 of the roughly 300 rows of --tag gpu, the fastest first.
part_bench() {
    local begin=$SECONDS status=0 last count call words calls=(
        '--op norm,loss,optimizer,step,gemm'
        '--op attention --dtype float32 --context 2048'
        '--op attention --dtype bf16 --implementation fused --batch 1 --context 2048,16384'
    )
    if ! has_command bench; then
        row bench skipped 'eabench has no command bench'
        return
    fi
    if ((emulated)); then
        calls=(
            '--op attention --mechanism dpa,ea --context 5 --head-dim 4 --batch 1 --heads 1 --dtype float32'
            '--op norm,loss --m 3 --n 8'
        )
    fi
    rm -rf -- "$out/bench" "$out/bench.txt"
    for call in "${calls[@]}"; do
        read -r -a words <<<"$call"
        if ((emulated)); then # warm, because a cold cache takes writes larger than a GPU's caches
            words+=(--cache warm --min-samples 2 --max-seconds 0.05)
        else words+=(--tag gpu --max-seconds 0.2); fi
        if ((SECONDS - begin < 100)); then one_bench $((100 - SECONDS + begin)) "${words[@]}"; else status=124; fi
        last=$?
        ((last == 0 || status != 0)) || status=$last
    done
    count=$(grep -c ',ok,' "$out/bench/kernels.csv" 2>/dev/null)
    if ((status == 0 && count)); then row bench passed "$count rows in $(short "$out/bench/kernels.csv")"; else
        case $status:${count:-0} in
            124:[1-9]* | 137:[1-9]*)
                row bench partial "$count rows in $(short "$out/bench/kernels.csv"), then $(why "$status")"
                ;;
            *) row bench FAILED "${count:-0} rows, $(why "$status"), see $(short "$out/bench.txt")" ;;
        esac
    fi
}

# The ladder in miniature: on the emulator a step takes about a second.
small=(--set model.d_model=8 --set model.heads=2 --set model.context=10 --set model.mlp_ratio=1 --set train.batch=2
    --set train.eval_tokens=4 --set train.lr=1e-2 --set train.seed=1 --set 'train.mechanism=dpa,ea')

# sweep FOLDER LIMIT BACKEND OPTION...: runs the ladder into FOLDER, with its output in FOLDER.txt.
sweep() {
    local folder=$1 limit=$2 with=$3
    shift 3
    limited "$limit" "$eabench" sweep "$root/tasks/ladders/gpu.ini" --backend "$with" --out "$out/$folder" \
        --no-check "$@" >"$out/$folder.txt" 2>&1 </dev/null
}

# rates FOLDER: the median speed of a run's fleets. Columns are counted from the end, because device names have commas.
rates() {
    awk -F, 'FNR == 1 { for (i = 1; i <= NF; i++) if ($i == "fleet_tokens_per_s") from_end = NF - i; next }
        { print $(NF - from_end) }' \
        "$out/$1/throughput.csv" 2>/dev/null | sort -g | awk '{ rate[NR] = $1 }
        END { if (NR) printf "%.3g million tokens a second (median)", rate[int((NR + 1) / 2)] / 1e6 }'
}

part_ladder() {
    local status begin=$SECONDS count time_limit speed
    rm -rf -- "$out/ladder" # an earlier program's cells
    if ((emulated)); then
        sweep ladder 300 cuda "${small[@]}" --set train.steps=4 --set train.eval_every=2
    else
        time_limit=$(($(left 280) - 60)) # leaves time for the comparison
        ((time_limit >= 20)) || time_limit=20
        sweep ladder $((time_limit + 20)) cuda --device "$device" --time-limit "$time_limit"
    fi
    status=$?
    count=$(grep -o -E '[0-9]+ of [0-9]+ cells are done' "$out/ladder.txt" | tail -n 1)
    speed=$(rates ladder)
    case $status:$count in
        0:*) row ladder passed "${count:-done}, $((SECONDS - begin)) s${speed:+, $speed}" ;;
        130:[1-9]*) row ladder partial "$count, then the time limit${speed:+, $speed}" ;;
        *) row ladder FAILED "${count:+$count; }$(why "$status"), see $(short "$out/ladder.txt")" ;;
    esac
}

# curve_difference FOLDER FOLDER: the largest relative difference between two runs' losses, and their common points.
curve_difference() {
    awk -F, 'FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        NR == FNR { loss[$at["cell"], $at["step"]] = $at["loss_nats"]; next }
        ($at["cell"], $at["step"]) in loss {
            old = loss[$at["cell"], $at["step"]]
            new = $at["loss_nats"]
            d = (new > old ? new - old : old - new) / (old > 0 ? old : 1)
            if (d > worst) worst = d
            points++
        }
        END { printf "%.3g %d\n", worst, points }' "$out/$1/curves.csv" "$out/$2/curves.csv" 2>/dev/null
}

part_compare() {
    local steps=(--set train.steps=100 --set train.eval_every=20 --set train.seed=1 --set train.lr=1e-2 --save-curves)
    local subset=(--set train.seed=1:2 --set train.lr=1e-2) here=() worst points status
    ((emulated)) || here=(--device "$device")
    if ((emulated)); then
        steps=("${small[@]}" --set train.steps=4 --set train.eval_every=1 --save-curves)
        subset=("${small[@]}" --set train.steps=4 --set train.eval_every=2)
    fi
    rm -rf -- "$out/steps-gpu" "$out/steps-cpu" "$out/ladder-cpu"
    if ! sweep steps-gpu 300 cuda "${here[@]}" "${steps[@]}" || ! sweep steps-cpu 60 cpu "${steps[@]}"; then
        row compare FAILED "no curves, see $(short "$out")/steps-*.txt"
        return
    fi
    read -r worst points < <(curve_difference steps-cpu steps-gpu)
    if ((${points:-0} == 0)) || ! awk -v worst="$worst" 'BEGIN { exit !(worst <= 1e-3) }'; then
        row compare FAILED "losses differ by ${worst:-?} over ${points:-0} points; allowed: 1e-3"
    else
        row compare passed "losses differ by $worst at most over $points points; allowed: 1e-3"
    fi
    # After thousands of steps a cell's accuracy depends on rounding: it is reported, but is no failure.
    if [[ ! -f $out/ladder/accuracy.csv ]] || ! sweep ladder-cpu 90 cpu "${subset[@]}"; then
        row compare skipped 'accuracies: no ladder on the GPU, or none on the processor in time'
        return
    fi
    "$root/scripts/compare" "$out/ladder-cpu" "$out/ladder" >"$out/compare.txt" 2>&1 </dev/null
    status=$?
    case $status in
        0) row compare passed "accuracies: no worse than on the processor, $(short "$out/compare.txt")" ;;
        1) row compare differs "accuracies: see $(short "$out/compare.txt")" ;;
        *) row compare skipped "accuracies: $(tail -n 1 "$out/compare.txt")" ;;
    esac
}

# CUDA_VISIBLE_DEVICES makes the GPU number 0 for both sides. With --emulated both use the processor.
part_peers() {
    local status count options=(--gpu --quick --no-build --out "$out/peers" --time-limit "$(left 110)") visible
    visible=$(cut -d , -f "$((device + 1))" <<<"${CUDA_VISIBLE_DEVICES-}")
    ((emulated)) || export CUDA_VISIBLE_DEVICES=${visible:-$device}
    if ((emulated)); then
        options+=(--device cpu --only training --implementations "torch-eager,jax-jit" --fleet 2 --pairs 1
            --training-seconds 0.05)
    elif (($(left 110) < 30)); then
        row peers skipped "no time left; --only peers runs it"
        return
    fi
    EABENCH=$eabench limited 170 "$root/scripts/peers/run.sh" "${options[@]}" >"$out/peers.txt" 2>&1 </dev/null
    status=$?
    count=$(grep -c ',ok,' "$out/peers/ratios.csv" 2>/dev/null)
    case $status:${count:-0} in
        0:[1-9]*) row peers passed "$count ratios in $(short "$out/peers/ratios.csv")" ;;
        3:*) row peers skipped "$(tail -n 1 "$out/peers.txt")" ;;
        *:[1-9]*) row peers partial "$count ratios in $(short "$out/peers/ratios.csv"), then $(why "$status")" ;;
        *) row peers FAILED "no ratio, $(why "$status"), see $(short "$out/peers.txt")" ;;
    esac
}

# ----------------------------------------------------------------------------------------------------------------------

for part in "${parts[@]}"; do
    if [[ $part != build && ! -x $eabench ]]; then
        row "$part" FAILED "there is no $(short "$eabench")"
        continue
    fi
    part_"$part"
done

{
    echo '[machine]'
    echo "gpu = $gpu"
    ((emulated)) || nvidia-smi --id="$device" --format=csv,noheader \
        --query-gpu=driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.mem,power.limit | awk -F', ' \
        '{ print "driver = " $1 "\ncompute_capability = " $2 "\nmemory = " $3
            print "clocks = " $4 ", memory " $5 "\npower_limit = " $6 }'
    echo "program = $("$eabench" --version 2>/dev/null | head -n 1)" # has its commit, also without git
    echo "commit = $(git -C "$root" rev-parse --short HEAD 2>/dev/null)"
    echo "nvcc = $(nvcc --version 2>/dev/null | sed -n 's/.*release //p')"
    echo "date = $(date -u +%Y-%m-%dT%H:%M:%SZ)"
} >"$out/machine.ini"
{
    echo "$gpu, $SECONDS s, $(short "$out")"
    printf '%s\n' "${rows[@]}"
} | tee "$out/summary.txt"
exit "$failed"
