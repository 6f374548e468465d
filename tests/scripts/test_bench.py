"""`eabench bench`: help, bad input, rows, appending and resuming, samples, interruption."""
import csv
import os
import re
import signal
import subprocess
import time

import pytest
from sweeps import EABENCH, ROOT

QUICK = ["--backend", "cpu", "--max-seconds", "0.02", "--min-samples", "3"]
TINY = [*QUICK, "--op", "attention", "--mechanism", "ea", "--context", "8", "--head-dim", "4", "--batch", "1",
        "--heads", "2", "--implementation", "fused"]


def bench(*arguments, **options):
    return subprocess.run([EABENCH, "bench", *arguments], capture_output=True, text=True, timeout=120, **options)


def rows(folder, name="kernels.csv"):
    with open(os.path.join(folder, name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_help_lists_every_axis_and_operation():
    result = bench("--help")
    assert result.returncode == 0
    for word in ("--mechanism", "--head-dim", "--cache", "--tag", "attention", "gemm", "step", "openblas", "libxsmm",
                 "dpa, ea, ea-scaled, ea-softmax, ea-parallel, square, ea-quartic, sigmoid, mix",
                 "an integer 1..256"):
        assert word in result.stdout


@pytest.mark.parametrize("arguments, expected", [
    (["--mechanism", "eaa"], "nearest: ea; allowed: dpa, ea"),
    (["--context", "64:16"], "the range runs the wrong way"),
    (["--head-dim", "257"], "allowed: an integer 1..256"),
    (["--tag", "defualt"], "nearest: default"),
    (["--cache", "wram"], "nearest: warm"),
    (["--backend", "cpuu"], "nearest: cpu"),
    (["--precision", "0"], "--precision is 0"),
    (["--precision", "nan"], "--precision"),
    (["--min-samples", "0"], "--min-samples is 0"),
    (["--max-seconds", "-1"], "--max-seconds is '-1'; above 0"),
    (["--mechanims", "ea"], "nearest: --mechanism"),
    (["--op", "gemm", "--implementation", "fused"], "nothing is left to measure"),
    (["--op", "gemm", "--context", "8"], "nothing is left to measure"),
    (["--op", "step", "--set", "model.d_modle=16"], "nearest: d_model"),
    (["--op", "step", "--set", "model.d_model"], "allowed: section.key=value"),
    (["--op", "step", "--set", "model.heads=3"], "heads"),
    (["--samples"], "--samples needs --out"),
    (["--resume"], "--resume needs --out"),
    (["surplus"], "takes no argument"),
])
def test_bad_input_is_one_line_and_exit_2(arguments, expected, tmp_path):
    result = bench(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if "no GPU" not in line]
    assert len(lines) == 1 and lines[0].startswith("eabench bench: ") and expected in lines[0]
    assert result.stdout == ""


def test_rows_have_speed_beside_error(tmp_path):
    result = bench(*TINY, "--pass", "forward,backward", "--implementation", "fused,unfused", "--position", "none,alibi",
                   "--causal", "on,off", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    table = rows(tmp_path)
    assert len(table) == 16
    for row in table:
        assert row["status"] == "ok" and row["op"] == "attention" and row["mechanism"] == "ea"
        assert float(row["error_ratio"]) <= (2 if row["pass"] == "forward" else 3)
        assert 0 < float(row["time_p05_us"]) <= float(row["time_median_us"]) <= float(row["time_p95_us"])
        pairs = 36 if row["causal"] == "on" else 64
        assert float(row["gflop"]) == pytest.approx((4 if row["pass"] == "forward" else 10) * 4 * pairs * 2 / 1e9)
        seconds = float(row["time_median_us"]) / 1e6
        assert float(row["tflop_per_s"]) == pytest.approx(float(row["gflop"]) / 1e3 / seconds, rel=1e-6)
        assert int(row["memory_bytes"]) > 0 and row["throttled"] in ("0", "1") and row["cache"] == "cold"
    manifest = (tmp_path / "manifest.ini").read_text(encoding="utf-8")
    assert manifest.startswith("[bench]\n") and "\n[environment]\n" in manifest and "peak_gflop_per_s = " in manifest
    assert not (tmp_path / ".lock").exists()
    header, units = result.stdout.splitlines()[1:3]
    assert "median" in header and "GFLOP/s" in units


def test_unsupported_and_too_large_are_rows_with_a_reason(tmp_path):
    result = bench(*TINY, "--dtype", "bf16", "--pass", "forward", "--out", tmp_path)
    assert result.returncode == 3 and result.stderr.endswith(
        "eabench bench: no row was measured: all 1 are oom or unsupported, the first unsupported: the cpu backend "
        "takes float32 only\n")
    result = bench(*QUICK, "--op", "attention", "--mechanism", "ea", "--implementation", "unfused", "--context",
                   "1048576", "--heads", "64", "--batch", "64", "--pass", "forward", "--out", tmp_path)
    assert result.returncode == 3 and "the first oom: " in result.stderr
    unsupported, too_large = rows(tmp_path)
    assert unsupported["status"] == "unsupported" and "float32" in unsupported["reason"]
    assert too_large["status"] == "oom" and "past any memory" in too_large["reason"]
    for row in (unsupported, too_large):
        assert row["time_median_us"] == row["tflop_per_s"] == row["samples"] == row["marks"] == ""
    mixed = [*TINY, "--dtype", "float32,bf16", "--pass", "forward", "--out", tmp_path, "--resume"]
    assert bench(*mixed).returncode == 0  # one row was measured
    assert bench(*mixed).returncode == 0  # it was measured earlier


def test_a_table_of_the_first_version_is_continued(tmp_path):
    assert bench(*TINY, "--pass", "forward", "--out", tmp_path).returncode == 0
    (row,) = rows(tmp_path)
    old = [{name: value for name, value in row.items() if name != "marks"}]
    with (tmp_path / "kernels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(old[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(old)
    done = bench(*TINY, "--pass", "forward,backward", "--out", tmp_path, "--resume")
    assert done.returncode == 0 and "1 already measured" in done.stderr, done.stderr
    first, second = rows(tmp_path)
    assert first == {**row, "marks": ""} and second["pass"] == "backward"


def test_rows_append_and_resume_skips_measured_rows(tmp_path):
    assert bench(*TINY, "--pass", "forward", "--out", tmp_path).returncode == 0
    assert bench(*TINY, "--pass", "forward", "--out", tmp_path).returncode == 0
    assert len(rows(tmp_path)) == 2
    result = bench(*TINY, "--pass", "forward,backward", "--out", tmp_path, "--resume")
    assert result.returncode == 0 and "1 already measured" in result.stderr
    assert [row["pass"] for row in rows(tmp_path)] == ["forward", "forward", "backward"]
    warm = bench(*TINY, "--pass", "forward", "--out", tmp_path, "--resume", "--cache", "warm")
    assert warm.returncode == 0 and len(rows(tmp_path)) == 4, "another cache is another row"


def test_a_torn_line_is_dropped_and_a_foreign_table_refused(tmp_path):
    assert bench(*TINY, "--pass", "forward", "--out", tmp_path).returncode == 0
    table = tmp_path / "kernels.csv"
    whole = table.read_text(encoding="utf-8")
    table.write_text(whole + "cpu,half a ro", encoding="utf-8")
    assert bench(*TINY, "--pass", "backward", "--out", tmp_path).returncode == 0
    assert [row["pass"] for row in rows(tmp_path)] == ["forward", "backward"]
    table.write_text("name,time\nx,1\n", encoding="utf-8")
    result = bench(*TINY, "--out", tmp_path)
    assert result.returncode == 2 and "kernels.csv:1: column 1 is 'name'" in result.stderr
    assert table.read_text(encoding="utf-8") == "name,time\nx,1\n"


def test_a_sweeps_folder_is_refused(tmp_path):
    (tmp_path / "accuracy.csv").write_text("cell\n", encoding="utf-8")
    result = bench(*TINY, "--out", tmp_path)
    assert result.returncode == 2 and "holds a sweep" in result.stderr
    assert sorted(os.listdir(tmp_path)) == ["accuracy.csv"]


MODEL = ["--op", "step", "--max-seconds", "0.001", "--min-samples", "1", "--precision", "1", "--cache", "warm",
         *(part for option in ("model.d_model=8", "model.heads=1", "model.context=8", "train.batch=2") for part in
           ("--set", option))]


def test_models_with_many_options_have_rows_of_their_own(tmp_path):
    """The label, by which --resume knows a row, has all options."""
    many = [part for option in ("position=learned", "norm=none", "mlp_ratio=2", "activation=gelu", "bias=off",
                                "init_scale=0.5", "embedding_scale=0.25") for part in ("--set", f"model.{option}")]
    for value in ("off", "on"):
        done = bench(*MODEL, *many, "--mechanism", "ea", "--set", f"model.qk_norm={value}", "--out", tmp_path,
                     "--resume")
        assert done.returncode == 0 and "1 of 1 rows" in done.stderr, done.stderr
    labels = [row["label"] for row in rows(tmp_path)]
    assert len(set(labels)) == 2 and labels[1].endswith("qk_norm=on")


def test_mechanisms_of_steps(tmp_path):
    done = bench(*MODEL, "--mechanism", "dpa,mix", "--set", "train.mix=0.25,0.5", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(row["mechanism"], "mix=" in row["label"]) for row in rows(tmp_path)] == [
        ("dpa", False), ("mix", True), ("mix", True)]
    for options, message in ((["--mechanism", "mix"], "mechanism = mix without mix"),
                             (["--set", "train.mechanism=ea"], "--mechanism NAME")):
        done = bench(*MODEL, *options)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_memory_is_that_of_the_operation_and_not_of_its_check(tmp_path):
    done = bench(*QUICK, "--op", "optimizer", "--n", "1000", "--cache", "warm", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    row, = rows(tmp_path)
    assert 4 * 4 * 1000 <= int(row["memory_bytes"]) < 5 * 4 * 1000  # weights, gradients, two moments


def test_a_benchs_folder_is_refused_by_a_sweep(tmp_path):
    assert bench(*TINY, "--pass", "forward", "--out", tmp_path / "run").returncode == 0
    before = (tmp_path / "run" / "manifest.ini").read_bytes()
    done = subprocess.run([EABENCH, "sweep", ROOT / "tasks" / "ladders" / "quick.ini", "--backend", "cpu", "--out",
                           tmp_path / "run"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "holds a bench" in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "run" / "manifest.ini").read_bytes() == before


def test_every_sample_is_kept_on_request(tmp_path):
    long = ["--max-seconds", "5", "--precision", "1"]  # three samples, on a busy machine, too
    assert bench(*TINY, *long, "--pass", "forward", "--out", tmp_path, "--samples").returncode == 0
    (row,) = rows(tmp_path)
    samples = rows(tmp_path, "samples.csv")
    assert len(samples) == int(row["samples"]) >= 3
    times = sorted(float(sample["time_us"]) for sample in samples)
    middle = len(times) // 2
    median = times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2
    assert median == pytest.approx(float(row["time_median_us"]), rel=1e-6)


def test_two_writers_are_refused_and_an_interrupt_keeps_the_rows(tmp_path):
    long = [*TINY[:], "--context", "8,9,10", "--max-seconds", "1.5", "--precision", "1e-9", "--out", tmp_path]
    with subprocess.Popen([EABENCH, "bench", *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as first:
        deadline = time.monotonic() + 60
        table = tmp_path / "kernels.csv"
        while time.monotonic() < deadline:
            if table.exists() and table.read_text(encoding="utf-8").count("\n") >= 2:
                break
            time.sleep(0.05)
        second = bench(*TINY, "--out", tmp_path)
        assert second.returncode == 2 and "in use by process" in second.stderr
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=60)
    assert first.returncode == 130 and "--resume" in errors
    kept = rows(tmp_path)
    assert 1 <= len(kept) < 6 and all(row["status"] == "ok" for row in kept)
    done = bench(*long[:-2], "--max-seconds", "0.02", "--out", tmp_path, "--resume")
    assert done.returncode == 0 and len(rows(tmp_path)) == 6


def test_the_harness_reports_its_own_cost():
    line = re.search(r"^the harness: (\S+) ns a call and (\S+) ns a sample, at most (\S+) % of a row$",
                     bench(*TINY).stderr, re.M)
    assert line and all(0 <= float(number) < float("inf") for number in line.groups())
    assert "the harness:" not in bench(*QUICK, "--op", "nothing").stderr, "an empty call has no other cost"


def test_products_other_operations_and_steps(tmp_path):
    result = bench(*QUICK, "--op", "gemm,norm,loss,optimizer,step", "--implementation", "eabench", "--set",
                   "model.d_model=16", "--set", "model.context=8", "--set", "train.batch=4", "--set", "task.basis=5",
                   "--out", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    table = rows(tmp_path)
    assert {row["op"] for row in table} == {"gemm", "norm", "loss", "optimizer", "step"}
    gemm = [row for row in table if row["op"] == "gemm"]
    assert len(gemm) == 15 and gemm[0]["label"] == "d_model 16 qkv y"
    assert (gemm[2]["m"], gemm[2]["n"], gemm[2]["k"], gemm[2]["transpose"]) == ("16", "48", "32", "a")
    (loss,) = [row for row in table if row["op"] == "loss"]
    assert (loss["m"], loss["n"], loss["tflop_per_s"]) == ("32", "5", "")
    steps = [row for row in table if row["op"] == "step"]
    assert [row["mechanism"] for row in steps] == ["dpa", "ea"]
    for row in steps:
        assert row["batch"] == "4" and row["context"] == "8" and row["cache"] == "warm"
        assert float(row["error_ratio"]) <= 3
        assert float(row["tokens_per_s"]) == pytest.approx(32 / (float(row["time_median_us"]) / 1e6), rel=1e-6)


OPENBLAS = """
#include <stdlib.h>
void openblas_set_num_threads(int count) { (void)count; }
const char *openblas_get_corename(void) {
    const char *name = getenv("OPENBLAS_CORETYPE");
    return name ? name : "Prescott";
}
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                 int ldb, float beta, float *c, int ldc) {
    (void)order, (void)ta, (void)tb, (void)alpha, (void)beta;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int t = 0; t < k; t++) sum += a[i * lda + t] * b[t * ldb + j];
            c[i * ldc + j] = sum;
        }
}
"""


@pytest.mark.parametrize("told, isa, used", [
    (None, "avx512", "SkylakeX"), (None, "avx2", "Haswell"), (None, "base", "Prescott"), ("Zen", "avx2", "Zen")])
def test_openblas_is_told_a_core_with_the_vectors_in_use(told, isa, used, tmp_path):
    if isa == "avx512" and "avx512vl" not in open("/proc/cpuinfo", encoding="utf-8").read():
        pytest.skip("this processor lacks avx512")
    (tmp_path / "openblas.c").write_text(OPENBLAS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libopenblas.so.0", "openblas.c"], cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "EAB_ISA": isa}
    environment.pop("OPENBLAS_CORETYPE", None)
    if told:
        environment["OPENBLAS_CORETYPE"] = told
    result = bench(*QUICK, "--op", "gemm", "--implementation", "openblas", "--m", "8", "--n", "8", "--k", "8",
                   env=environment)
    assert result.returncode == 0, result.stderr
    assert f"openblas: its kernels for {used}, one thread" in result.stderr
