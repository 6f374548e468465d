#!/usr/bin/env bash
# Builds eabench and runs its tests; see --help.
set -uo pipefail
program='test'
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh" || exit 3

default_stages=(release isa analyzer scripts faults memory asan tsan clang fuzz aarch64 cuda emulated)
full_stages=(lint floats avx512 debug valgrind asan-isa asan-scripts tsan-scripts peers cuda-all)

usage() {
    cat <<END
Usage: scripts/test.sh [--full] [--stage NAME[,NAME]...] [-R REGEX] [-k EXPRESSION]

Installs what is missing (scripts/setup.sh), builds with warnings as errors, and runs the tests in stages:

  release       build by gcc; all Criterion tests; the install test
  isa           tests of the SIMD level in use, at base and avx2, where they do not go through the levels themselves
  analyzer      gcc -fanalyzer over host/: leaks, double frees, uses after free, files left open
  scripts       pytest: the command line and the analysis scripts
  faults        faults injected into sweeps at random instants, \$EAB_FAULT_ROUNDS times (20), and their tables compared
  memory        a short sweep and its resume under valgrind, where it is installed
  asan          AddressSanitizer and UndefinedBehaviorSanitizer: all Criterion tests
  tsan          ThreadSanitizer: the host's Criterion tests; pytest of the sweep
  clang         build by clang; all Criterion tests
  fuzz          build by clang; each fuzz target for \$EAB_FUZZ_SECONDS (10), or \$EAB_FUZZ_RUNS executions where that
                is set; \$EAB_FUZZ_SEED (1) is the seed
  aarch64       the library cross-compiled for 64-bit ARM; tests/bare by qemu, where both can be installed
  cuda          build with CUDA for one architecture, where nvcc is installed; registers, spills and bounds of kernels
  emulated      the kernels' PTX, run on the processor by tests/ptx (docs/emulator.md), where nvcc is installed
and with --full
  lint          scripts/lint.sh
  floats        the vector functions over all floats; release tests every seventh, other stages few (EAB_FLOAT_STEP)
  avx512        the kernels' tests at the SIMD level avx512, emulated with AVX2 (tests/avx512)
  debug         build without optimisation; all Criterion tests
  valgrind      the Criterion tests under memcheck, at SIMD level avx2
  asan-isa      the kernels' tests at base and avx2 under the sanitizers
  asan-scripts  pytest with the program of the asan build
  tsan-scripts  pytest with the program of the tsan build
  peers         pytest: the trainer and the library against PyTorch and JAX (downloads some GB once)
  cuda-all      build with CUDA for every architecture, and PTX, tests included

  --full        all stages
  --stage NAME  these stages only
  -R REGEX      only tests whose name (such as kernels.attention) matches, in the stages of ctest
  -k EXPRESSION only tests that match, in the stages of pytest
  --help        show this

Exit codes: 0 all passed, 1 a build or a test failed, 2 misuse, 3 something is missing and cannot be installed.
END
}

stages=("${default_stages[@]}") regex='' expression=''
while (($#)); do
    case $1 in
        --full) stages=("${default_stages[@]}" "${full_stages[@]}") ;;
        --stage)
            [[ -n ${2:-} ]] || misuse "--stage needs a name; allowed: ${default_stages[*]} ${full_stages[*]}"
            IFS=, read -r -a stages <<<"$2"
            shift
            ;;
        -R)
            [[ -n ${2:-} ]] || misuse "-R needs a regular expression"
            regex=$2
            shift
            ;;
        -k)
            [[ -n ${2:-} ]] || misuse "-k needs an expression"
            expression=$2
            shift
            ;;
        --help | -h) usage && exit 0 ;;
        *) misuse "unknown option '$1'; allowed: --full, --stage NAME, -R REGEX, -k EXPRESSION, --help" ;;
    esac
    shift
done
setup=()
for stage in "${stages[@]}"; do
    [[ " ${default_stages[*]} ${full_stages[*]} " == *" $stage "* ]] ||
        misuse "unknown stage '$stage'; allowed: ${default_stages[*]} ${full_stages[*]}"
    case $stage in lint | valgrind) setup=(--full) ;; esac
done

"$root/scripts/setup.sh" "${setup[@]}" || exit
cd "$root" || exit 3
export EAB_PYTHON=$venv/bin/python
unset EAB_ISA
scratch=$(mktemp -d) || exit 3
trap 'rm -rf -- "$scratch"' EXIT

# ---- the runners -----------------------------------------------------------------------------------------------------

passed=0 failed=0
summaries=() # of the stage: its runners' last lines

# launch PRESET COMMAND...: runs it in the environment of the preset's tests.
launch() {
    # Under nohup or in the background some signals are ignored; programs that tests interrupt would inherit that.
    local around=(env '--default-signal=HUP,INT,QUIT,PIPE')
    local slowness=${EAB_SLOWNESS:-3} # tests multiply their time limits by it
    case $1 in asan | tsan) slowness=30 ;; esac
    if [[ $1 != release ]]; then around+=(EAB_FLOAT_STEP=1009); fi
    around+=(EAB_SLOWNESS="$slowness" EABENCH="$root/build/$1/eabench")
    # gcc's ThreadSanitizer before version 14 fails with the address randomization of newer kernels.
    if [[ $1 == tsan ]] && setarch -R true 2>/dev/null; then around+=(setarch -R); fi
    shift
    "${around[@]}" "$@"
}

declare -A built # preset: 0, or 1 where the build failed

build() { # PRESET
    local source werror=ON tests=ON cuda=OFF
    case $1 in
        asan | tsan) werror=OFF ;; # gcc gives false warnings in code with sanitizers
        cuda-all) cuda=ON ;;
        cuda-*) tests=OFF cuda=ON ;; # the tests of the CUDA kernels are the stage emulated
    esac
    if [[ -z ${built[$1]:-} ]]; then
        built[$1]=0
        source=$(sed -n 's/^CMAKE_HOME_DIRECTORY:[A-Z]*=//p' "build/$1/CMakeCache.txt" 2>/dev/null)
        [[ -z $source || $source == "$root" ]] || rm -rf -- "build/$1" # the tree was moved or copied
        if ! quietly "configuring build/$1" cmake --preset "$1" -DEAB_TESTS="$tests" -DEAB_CUDA="$cuda" \
            -DEAB_WERROR="$werror" ||
            ! quietly "building build/$1" cmake --build --preset "$1"; then
            cat -- "$log"
            built[$1]=1
        fi
    fi
    ((built[$1] == 0)) || summaries+=("build/$1 cannot be built")
    return "${built[$1]}"
}

# Reads ctest's log: prints Criterion's summary of each entry, and writes the numbers of tests passed and failed to
# $scratch/counts. An entry without Criterion counts as one test, and so does an entry that failed though all its tests
# passed (a leak).
count_ctest() {
    awk -v counts="$scratch/counts" '
        / Testing: / { name = $3; good = 0; synthesis = "" }
        /^Test Passed/ { good = 1 }
        /\[====\] Synthesis: / { synthesis = $0; sub(/.*Synthesis: /, "", synthesis) }
        /^"[^"]*" end time: / {
            if (synthesis == "") { if (good) passed++; else failed++; next }
            printf "  %-28s %s\n", name, synthesis
            split(synthesis, number, /[^0-9]+/)
            passed += number[3]
            failed += number[2] - number[3]
            if (!good && number[2] == number[3]) failed++
        }
        END { print passed + 0, failed + 0 >counts }' "$1"
}

ctests() { # PRESET OPTION...
    local preset=$1 status last good bad
    shift
    rm -f -- "build/$preset/Testing/Temporary/LastTest.log"
    launch "$preset" ctest --preset "$preset" -j "$(cores)" ${regex:+-R "$regex"} "$@" 2>&1 | tee "$scratch/ctest"
    status=${PIPESTATUS[0]}
    last=$(grep -E ' tests passed, |^No tests were found' "$scratch/ctest" | tail -n 1)
    echo 0 0 >"$scratch/counts"
    if [[ -f build/$preset/Testing/Temporary/LastTest.log ]]; then
        echo 'Criterion:'
        count_ctest "build/$preset/Testing/Temporary/LastTest.log"
    fi
    read -r good bad <"$scratch/counts"
    passed=$((passed + good)) failed=$((failed + bad))
    summaries+=("${last:-ctest ended with status $status}")
    return "$status"
}

ctests_at_levels() { # PRESET
    local level status=0
    for level in base avx2; do
        [[ $level == base ]] || grep -q -w "$level" /proc/cpuinfo || continue
        echo "EAB_ISA=$level"
        EAB_FLOAT_STEP=1009 EAB_ISA=$level ctests "$1" -L kernels -LE levels || status=1
    done
    return "$status"
}

pytests() { # PRESET [FILES [EXPRESSION]]
    local status last outcome number what filter=${expression:+($expression)} parallel=()
    # A file's tests stay in one process, as they share what is costly to set up.
    if "$EAB_PYTHON" -c 'import xdist' 2>/dev/null; then parallel=(-n "$(cores)" --dist loadfile); fi
    read -r -a what <<<"${2:-tests/scripts}"
    if [[ -n ${3:-} ]]; then filter="${filter:+$filter and }$3"; fi
    PYTHONDONTWRITEBYTECODE=1 launch "$1" "$EAB_PYTHON" -m pytest "${what[@]}" "${parallel[@]}" -ra --durations=5 \
        --color=no ${filter:+-k "$filter"} 2>&1 | tee "$scratch/pytest"
    status=${PIPESTATUS[0]}
    last=$(grep -E '^=+ .* in [0-9.]+s.* =+$' "$scratch/pytest" | tail -n 1)
    while read -r number outcome; do
        case $outcome in
            passed) passed=$((passed + number)) ;;
            failed | error*) failed=$((failed + number)) ;;
        esac
    done < <(grep -o -E '[0-9]+ (passed|failed|errors?)' <<<"$last")
    summaries+=("${last:-pytest ended with status $status}")
    return "$status"
}

# Criterion runs each test in a new process and ignores an exit status after the test, so valgrind's findings are read
# from its logs, which are empty where it found nothing.
valgrinds() {
    local program name good status=0 found=0
    for program in build/release/tests/test_*; do
        name=${program##*/test_} name=${name/_/.}
        [[ $name =~ ${regex:-.} ]] || continue
        echo "valgrind $name"
        good=1
        EAB_SLOWNESS=100 EAB_FLOAT_STEP=1000000 EAB_ISA=avx2 launch release valgrind --quiet --trace-children=yes \
            --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite \
            --log-file="$scratch/valgrind.%p" \
            "$program" --jobs "$(cores)" >"$scratch/output" 2>&1 || good=0
        grep 'Synthesis' "$scratch/output"
        if [[ -n $(find "$scratch" -name 'valgrind.*' -size +0) ]]; then
            found=$((found + 1)) good=0
            cat -- "$scratch"/valgrind.*
        fi
        if ((good)); then passed=$((passed + 1)); else
            failed=$((failed + 1)) status=1
            cat -- "$scratch/output"
        fi
        rm -f -- "$scratch"/valgrind.*
    done
    summaries+=("valgrind: errors or leaks in $found programs")
    return "$status"
}

# Each target runs on one core. Findings go to build/fuzz/findings, new inputs to build/fuzz/corpus.
# shellcheck disable=SC2317 # xargs calls it
fuzz_one() { # NAME
    local name=$1 limit=(-max_total_time="${EAB_FUZZ_SECONDS:-10}") dictionary=()
    # CI runs the same inputs every time; another EAB_FUZZ_SEED tries others (0: seeded by the clock).
    limit+=(-seed="${EAB_FUZZ_SEED:-1}")
    [[ -z ${EAB_FUZZ_RUNS:-} ]] || limit[0]=-runs="$EAB_FUZZ_RUNS"
    [[ ! -f tests/fuzz/$name.dict ]] || dictionary=(-dict="tests/fuzz/$name.dict")
    mkdir -p "build/fuzz/corpus/$name" build/fuzz/findings
    "build/fuzz/tests/fuzz_$name" "${limit[@]}" "${dictionary[@]}" -max_len=4096 -timeout=600 -report_slow_units=600 \
        -print_final_stats=1 -artifact_prefix="build/fuzz/findings/$name-" "build/fuzz/corpus/$name" \
        "tests/fuzz/corpus/$name" >"build/fuzz/$name.log" 2>&1
}
export -f fuzz_one

fuzzes() {
    local program name status=0 runs=0 names=()
    for program in build/fuzz/tests/fuzz_*; do
        name=${program##*/fuzz_}
        [[ fuzz.$name =~ ${regex:-.} ]] && names+=("$name")
    done
    # libFuzzer's leak detection needs ptrace, which some containers forbid; the stage asan finds leaks, too.
    printf '%s\n' "${names[@]}" |
        launch fuzz xargs -P "$(cores)" -I '{}' bash -c 'fuzz_one {} || touch build/fuzz/{}.failed'
    for name in "${names[@]}"; do
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$name.log")
        if [[ -e build/fuzz/$name.failed || -z $runs ]]; then
            failed=$((failed + 1)) status=1
            tail -n 60 "build/fuzz/$name.log"
            rm -f -- "build/fuzz/$name.failed"
            summaries+=("fuzz $name: a finding, see build/fuzz/$name.log")
        else
            passed=$((passed + 1))
            summaries+=("fuzz $name: $runs executions, no finding")
        fi
    done
    return "$status"
}

faults() { # PRESET
    local status
    launch "$1" "$EAB_PYTHON" tests/faults/faults.py --rounds "${EAB_FAULT_ROUNDS:-20}" \
        --program "$root/build/$1/eabench" 2>&1 | tee "$scratch/faults"
    status=${PIPESTATUS[0]}
    summaries+=("$(tail -n 1 "$scratch/faults")")
    if ((status == 0)); then passed=$((passed + 1)); fi
    return "$status"
}

# Repeats the compile commands of host/ with gcc's analyzer. Its warnings of null pointers and uninitialized values
# ignore what tests and callers guarantee, so they are off (the sanitizers' stages find both at run time). A "leak of
# <unknown>" is no finding either: gcc reports it for a pointer in an array's element once it does not know the index,
# and the stage asan finds leaks. All other warnings are findings.
analyzer_stage() {
    if [[ ! $(gcc -dumpfullversion 2>/dev/null) =~ ^(1[2-9]|[2-9][0-9])\. ]] ||
        ! grep -q 'CMAKE_C_COMPILER_ID "GNU"' build/release/CMakeFiles/*/CMakeCCompiler.cmake; then
        summaries+=("skipped: the build is not by gcc 12 or newer")
        return
    fi
    "$EAB_PYTHON" - build/release/compile_commands.json "$root/host/" >"$scratch/commands" <<'END'
import json, re, shlex, sys
for entry in json.load(open(sys.argv[1])):
    name = entry["file"]
    if not name.startswith(sys.argv[2]) or not name.endswith(".c") or "eab_host.dir" not in entry["command"]:
        continue
    words = shlex.split(entry["command"])
    words[words.index("-o") + 1] = "/dev/null"
    words[:next(i for i, word in enumerate(words) if re.search(r"(^|[/-])g?cc(-\d+)?$", word)) + 1] = ["gcc"]
    words += ["-fanalyzer", "-Wno-error"] + [f"-Wno-analyzer-{name}" for name in (
        "null-dereference", "possible-null-dereference", "null-argument", "possible-null-argument",
        "use-of-uninitialized-value")]
    print(shlex.quote("cd " + shlex.quote(entry["directory"]) + " && " + shlex.join(words)))
END
    local files=0
    files=$(wc -l <"$scratch/commands")
    if ((files < 50)); then
        summaries+=("analyzer: only $files files in compile_commands.json")
        return 1
    fi
    if ! LC_ALL=C xargs -P "$(cores)" -n 1 bash -c <"$scratch/commands" >"$scratch/analyzer" 2>&1; then
        grep -A 12 'error: ' "$scratch/analyzer" | head -n 200
        summaries+=("analyzer: not all of $files files compile")
        return 1
    fi
    local found=0
    found=$(grep -E 'warning: .*\[-Wanalyzer-' "$scratch/analyzer" | grep -vc "leak of '<unknown>'") || true
    if ((found)); then
        grep -A 12 -E 'warning: .*\[-Wanalyzer-' "$scratch/analyzer" | head -n 200
        summaries+=("analyzer: $found findings in $files files")
        return 1
    fi
    passed=$((passed + 1))
    summaries+=("analyzer: no finding in $files files")
}

# One sweep with all that it can save, and its resume; the stage valgrind of the full tier takes far longer.
memory_stage() {
    local status=0
    if ! command -v valgrind >/dev/null; then
        summaries+=("skipped: valgrind is not installed")
        return
    fi
    printf '%s\n' '[task recurrence]
basis = 4
[task mixture]
parts = recurrence + parity
[model]
d_model = 8
heads = 2
[train]
mechanism = dpa, ea
steps = 6
batch = 2
eval_every = 3
eval_tokens = 20' >"$scratch/memory.ini"
    for _ in 1 2; do # the second one resumes after a torn line
        EAB_ISA=avx2 launch release valgrind --quiet --error-exitcode=9 --leak-check=full \
            --errors-for-leak-kinds=definite build/release/eabench sweep "$scratch/memory.ini" --backend cpu \
            --out "$scratch/memory" --save-curves --save-models --save-geometry --checkpoint-every 0.001 --workers 2 \
            >"$scratch/output" 2>&1 || status=1
        ((status == 0)) || cat -- "$scratch/output"
        truncate -s -40 "$scratch/memory/accuracy.csv"
    done
    if ((status == 0)); then passed=$((passed + 1)); fi
    summaries+=("valgrind: a sweep and a resume")
    return "$status"
}

races() {
    local status=0
    ctests tsan -L host -E '^host\.(check|gradients|run_folder)$' || status=1 # these are long, in one thread
    # Without the tests of the progress line, which train for long.
    local files=(tests/scripts/test_sweep.py tests/scripts/test_resume.py tests/scripts/test_launch.py)
    pytests tsan "${files[*]}" 'not terminal' || status=1
    return "$status"
}

aarch64_stage() {
    if ! "$root/scripts/setup.sh" --no-tests --no-python --aarch64; then
        summaries+=("skipped: gcc-aarch64-linux-gnu and qemu-user-static cannot be installed")
        return
    fi
    build aarch64 && ctests aarch64
}

cuda_stage() { # PRESET LABELS
    if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
        summaries+=("skipped: nvcc is not installed")
        return
    fi
    build "$1" && ctests "$1" -L "$2"
}

# In the build of the stage cuda, so that nvcc compiles the kernels once.
emulated_stage() {
    if ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
        summaries+=("skipped: nvcc is not installed")
        return
    fi
    build cuda-sm90a || return
    if ! quietly "building the emulator" cmake --build --preset cuda-sm90a --target emulated; then
        cat -- "$log"
        summaries+=("the emulator cannot be built")
        return 1
    fi
    ctests cuda-sm90a -L emulated
}

# In the full tier, as PyTorch and JAX are gigabytes to download; the tests themselves take a minute.
peers_stage() {
    scripts/peers/setup || return
    OMP_NUM_THREADS=1 EAB_PYTHON=${EAB_PEERS_VENV:-$root/.venv-peers}/bin/python pytests release tests/peers
}

stage() {
    case $1 in
        release) build release && ctests release ;;
        isa) build release && ctests_at_levels release ;;
        analyzer) build release && analyzer_stage ;;
        scripts) build release && pytests release ;;
        asan) build asan && ctests asan ;;
        tsan) build tsan && races ;;
        clang) build clang && ctests clang ;;
        faults) build release && faults release ;;
        fuzz) build fuzz && fuzzes ;;
        memory) build release && memory_stage ;;
        aarch64) aarch64_stage ;;
        cuda) cuda_stage cuda-sm90a cuda ;;
        emulated) emulated_stage ;;
        cuda-all) cuda_stage cuda-all cuda ;;
        lint) scripts/lint.sh ;;
        floats) build release && EAB_FLOAT_STEP=1 ctests release -R '^(kernels\.math|host\.half)$' ;;
        avx512) build avx512 && EAB_ISA=avx512 ctests avx512 -L kernels ;;
        debug) build debug && ctests debug ;;
        valgrind) build release && valgrinds ;;
        asan-isa) build asan && ctests_at_levels asan ;;
        asan-scripts) build asan && pytests asan ;;
        tsan-scripts) build tsan && pytests tsan ;;
        peers) build release && peers_stage ;;
    esac
}

# ----------------------------------------------------------------------------------------------------------------------

results=() status=0
for name in "${stages[@]}"; do
    printf '\n======== %s ========\n' "$name"
    begin=$SECONDS summaries=() before=$failed verdict=passed
    if ! stage "$name"; then
        verdict=FAILED status=1
        ((failed > before)) || failed=$((failed + 1)) # not a test, but a build, a tool, a runner
    fi
    results+=("$(printf '%-13s %-6s %4d s' "$name" "$verdict" $((SECONDS - begin)))")
    for summary in "${summaries[@]}"; do results+=("    $summary"); done
done

printf '\n======== all stages, %d s ========\n' "$SECONDS"
printf '%s\n' "${results[@]}"
printf 'tests: %d passed, %d failed\n' "$passed" "$failed"
exit "$status"
