"""scripts/explore --shard: several tasks share one exploration; they are killed, resumed and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sweeps import EABENCH, ROOT, needs_eabench, rows, wait_until
from test_explore import SPEC, Simulated, begin, command, hill, listing, run, space, step, without_speeds

sys.path.insert(0, str(ROOT / "scripts"))
from analysis import explore_shared  # noqa: E402
from analysis.explore import check, main as explore, parser  # noqa: E402
from analysis.explore_lab import Shard, State  # noqa: E402
from analysis.explore_shared import Locks, Task, begin_alone  # noqa: E402
from analysis.report import main as report  # noqa: E402
from analysis.tables import DataError  # noqa: E402

ASKED = {"seed": 1}
SLOW = ("--proposals", "2", "--confirm", "1", "--set", "train.steps=120", "--set", "train.stop_when_solved=off",
        "--set", "train.batch=32", "--set", "model.d_model=32,48")   # a tenth of a second a cell


# ---- with simulated labs: threads are tasks ------------------------------------------------------------------------


class Part(Simulated):
    """A task's part of a simulated lab. While it trains, it waits until `together` tasks do."""

    def __init__(self, whole: Simulated, together: threading.Barrier | None = None) -> None:
        self.side, self.table, self.trained, self.proposals = whole.side, whole.table, whole.trained, whole.proposals
        self.together, self.inherited = together, ()

    def train(self, cells, limit_s: float) -> bool:
        if self.together:
            self.together.wait(60)
        assert not any(self.trained.get(cell) for cell in cells)
        return super().train(cells, limit_s)

    def elsewhere(self) -> set[str]:
        return set()

    def pause(self, time_s: float) -> None:
        time.sleep(time_s / 20)

    def merge(self) -> None:
        pass


def join(whole: Simulated, out: Path, part: int, parts: int, together: threading.Barrier | None = None) -> Task:
    return Task(begin(Part(whole, together), fit=False), out, Shard(part, parts), ASKED)


def search(task: Task, most: int | None, seconds: float = 600) -> list[str]:
    """The keys of the finalists."""
    now = time.monotonic()
    return [setting.key for setting in task.search(most, now + seconds, now + 600, lambda _: None, lambda _: None)]


def end(task: Task) -> None:
    os.close(task.life)


def at_once(*calls) -> list:
    results: list = [None] * len(calls)
    threads = [threading.Thread(target=lambda i=i, call=call: results.__setitem__(i, call()))
               for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


def state(out: Path) -> dict:
    return json.loads((out / "explore.json").read_text())


def test_pending_settings_are_given_to_the_surrogate():
    """Near settings that others train less is uncertain, and expectations stay: the next proposals are elsewhere."""
    exploration = begin(Simulated(hill))
    for _ in range(25):
        step(exploration)
    points, known = space(10).points, exploration.surrogate()
    first = exploration.next().place
    believing = known.believing(points[[first]])
    assert believing.margin(points)[0] == pytest.approx(known.margin(points)[0], abs=1e-3)
    assert believing.margin(points[[first]])[1] < 0.8 * known.margin(points[[first]])[1]
    crowd = [first]
    for _ in range(5):  # without belief, the best of the others is next to the first
        exploration.failed = set(crowd)
        crowd.append(exploration.next().place)
    exploration.failed = set()
    for _ in range(6):
        exploration.pending.append(exploration.next().place)
    assert len(set(exploration.pending)) == 6 and exploration.pending[0] == first

    def distance(places: list[int]) -> float:
        """Of a setting to the nearest other one, on average."""
        return float(np.mean([min(np.linalg.norm(points[place] - points[other]) for other in places if other != place)
                              for place in places]))

    assert distance(exploration.pending) > 2 * distance(crowd)


def test_the_first_settings_of_many_tasks_are_spread():
    """More tasks than settings that are spread out: all have one before any is measured."""
    exploration = begin(Simulated(hill, side=4))
    while setting := exploration.next():
        exploration.pending.append(setting.place)
    assert sorted(exploration.pending) == sorted(space(4).cheapest)


def test_tasks_that_train_at_the_same_time_take_different_settings(tmp_path: Path):
    whole, together = Simulated(hill, side=4), threading.Barrier(3)
    tasks = [join(whole, tmp_path, part, 3, together) for part in (1, 2, 3)]
    finalists = at_once(*(lambda task=task: search(task, 18) for task in tasks))
    stored = state(tmp_path)
    assert len(set(stored["proposals"])) == 18 == len(whole.proposals)
    assert finalists == [stored["finalists"]] * 3 and len(finalists[0]) == 3
    assert stored["claims"] == {"1": None, "2": None, "3": None} and stored["waiting"] == []
    for task in tasks:
        assert [task.exploration.space.settings[place].key for place in task.exploration.measured
                ] == stored["proposals"]  # all have the order of the proposals
        task.exploration.lab.together = None
    chosen = [task.settings[key] for key in stored["finalists"] for task in tasks[:1]]
    at_once(*(lambda task=task: task.confirm(chosen, time.monotonic() + 600, lambda: None) for task in tasks))
    assert len(whole.trained) == 18 * 8 + 3 * 2 * 2 * 10
    assert len(tasks[0].exploration.verdicts(chosen)) == 3
    codes = []
    for task in tasks:
        codes.append(task.leave(lambda: 7))
        end(task)
    assert codes == [0, 0, 7] and state(tmp_path)["claims"] == {}


def test_the_search_ends_for_all_when_one_has_no_time_left(tmp_path: Path):
    whole = Simulated(hill, side=4)
    first, second = join(whole, tmp_path, 1, 2), join(whole, tmp_path, 2, 2)
    for _ in range(17):  # the last ones with all steps
        step(first.exploration)
    claimed, go_on = threading.Event(), threading.Event()

    def slow(cells, limit_s: float) -> bool:
        claimed.set()
        go_on.wait(60)
        return Part.train(second.exploration.lab, cells, limit_s)

    def late() -> list[str]:
        claimed.wait(60)
        threading.Timer(0.3, go_on.set).start()
        return search(first, None, 0)

    second.exploration.lab.train = slow
    finalists = at_once(lambda: search(second, None), late)
    assert finalists[0] == finalists[1] == state(tmp_path)["finalists"]
    assert len(second.exploration.measured) == 18  # it finished what it had begun, which counts
    end(first)
    end(second)


def test_a_dead_task_leaves_its_claim(tmp_path: Path):
    """It passes to the next task that looks for work, unless the task starts again before."""
    whole = Simulated(hill, side=4)
    claims = []
    for part in (1, 2):
        task = join(whole, tmp_path, part, 3)
        task.exploration.lab.train = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            search(task, 5)
        end(task)
        claims.append(state(tmp_path)["claims"][str(part)])
        whole.trained.update(dict.fromkeys(task.exploration.search_cells(task.settings[claims[-1]])[:part]))
        if part == 1:
            task = join(whole, tmp_path, 1, 3)
            search(task, 1)
            end(task)
            assert state(tmp_path)["proposals"] == claims
    assert len(claims) == 2 and claims[0] != claims[1]
    task = join(whole, tmp_path, 3, 3)
    search(task, 2)
    assert state(tmp_path)["proposals"] == claims and state(tmp_path)["claims"] == {"3": None}
    assert len(whole.proposals) == 2
    end(task)


def test_settings_and_pieces_that_fail(tmp_path: Path):
    whole = Simulated(hill, side=3)
    lines = listing(3).set_index("cell")
    fails = set(lines[(lines["d_model"] == "8") & (lines["seed"] == "2")].index)
    fails |= set(lines[(lines["mechanism"] == "ea") & (lines["lr"] == "0.01") & (lines["seed"] == "7")].index)
    whole.table = {cell: None if cell in fails else result for cell, result in whole.table.items()}
    tasks = [join(whole, tmp_path, part, 2) for part in (1, 2)]
    for task in tasks:
        task.exploration.lab.results = lambda: {cell: found for cell, found in whole.trained.items() if found}
    finalists = at_once(*(lambda task=task: search(task, None) for task in tasks))[0]
    stored = state(tmp_path)
    assert len(stored["failed"]) == 6 and len(stored["proposals"]) == 12 and finalists
    chosen = [tasks[0].settings[key] for key in finalists]
    at_once(*(lambda task=task: task.confirm(chosen, time.monotonic() + 600, lambda: None) for task in tasks))
    assert len(state(tmp_path)["lost"]) == len(chosen)  # each tried once
    tasks[0].leave(lambda: 0)
    assert tasks[1].leave(lambda: sum(map(tasks[1].is_lost, chosen))) == len(chosen)
    for task in tasks:
        end(task)


def test_who_may_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explore_shared, "PATIENCE_S", 0.1)
    whole = Simulated(hill, side=2)
    task = join(whole, tmp_path, 1, 2)
    with pytest.raises(DataError, match="--shard 1/2: this task is running already"):
        join(whole, tmp_path, 1, 2)
    with pytest.raises(DataError, match="shared by 2 tasks, not 3; allowed: --shard I/2"):
        join(whole, tmp_path, 1, 3)
    with pytest.raises(DataError, match="task 1 of this exploration is running"):
        begin_alone(tmp_path, ASKED, time.sleep)
    with pytest.raises(DataError, match="began with seed 1, not 2"):
        Task(task.exploration, tmp_path, Shard(2, 2), {"seed": 2})
    end(task)
    stored, alone = begin_alone(tmp_path, ASKED, time.sleep)
    assert stored.parts == 2 and Locks(tmp_path / "explore", time.sleep).alive() == [0]
    with pytest.raises(DataError, match="scripts/explore without --shard runs in it"):
        join(whole, tmp_path, 1, 2)
    with pytest.raises(DataError, match="a start without --shard of this exploration is running"):
        begin_alone(tmp_path, ASKED, time.sleep)
    os.close(alone)
    end(join(whole, tmp_path, 1, 2))
    (tmp_path / "shards" / "1-of-5").mkdir(parents=True)
    with pytest.raises(DataError, match="1-of-5 is a part of another number; allowed: I/5"):
        join(whole, tmp_path, 1, 2)


def test_a_folder_of_one_process_is_refused(tmp_path: Path):
    State.read(tmp_path, ASKED)
    before = state(tmp_path)
    with pytest.raises(DataError, match="explore.json: this exploration began without --shard; allowed: the same"):
        join(Simulated(hill, side=2), tmp_path, 1, 2)
    assert state(tmp_path) == before and "parts" not in before
    stored, descriptor = begin_alone(tmp_path, ASKED, time.sleep)
    assert stored.parts is None and descriptor is None


def test_a_lock_that_another_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture):
    monkeypatch.setattr(explore_shared, "PATIENCE_S", 0.2)
    locks = Locks(tmp_path / "explore", time.sleep)
    other = locks._take(tmp_path / "explore" / "lock")
    threading.Timer(0.6, os.close, [other]).start()
    with locks.state():
        pass
    assert "explore/lock, which another task has held for 0 s" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"parts": 0}, {"parts": "2"}, {"parts": True}, {"parts": 10**12}, {"claims": []},
                                    {"lost": [1]}, {"claims": {"1": 5}}, {"claims": {"3": None}},
                                    {"claims": {"x": None}}, {"waiting": "1"}])
def test_a_damaged_state_is_one_line(tmp_path: Path, change: dict):
    end(join(Simulated(hill, side=2), tmp_path, 1, 2))
    (tmp_path / "explore.json").write_text(json.dumps(state(tmp_path) | change))
    with pytest.raises(DataError, match=r"explore.json: not a file of explore; allowed"):
        State.read(tmp_path, ASKED, 2)


def test_finalists_of_another_spec_are_one_line(tmp_path: Path):
    end(join(Simulated(hill, side=2), tmp_path, 1, 2))
    (tmp_path / "explore.json").write_text(json.dumps(state(tmp_path) | {"finalists": ["zz"]}))
    with pytest.raises(DataError, match=r"explore.json: a setting to confirm is none of the spec's; another --out"):
        join(Simulated(hill, side=2), tmp_path, 1, 2)


# ---- with eabench --------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.ini"
    path.write_text(SPEC)
    return path


def start(small: Path, out: Path, shard: str, *options) -> subprocess.Popen:
    return subprocess.Popen(command(small, "--out", out, "--workers", "1", "--shard", shard, *options), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "EABENCH": EABENCH})


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert code or not errors, errors
    return output


def cells(out: Path, parts: int = 2) -> list[str]:
    """Of all parts; none is in two."""
    tables = [out / f"shards/{part}-of-{parts}/accuracy.csv" for part in range(1, parts + 1)]
    found = [row["cell"] for table in tables if table.exists() for row in rows(table)]
    assert len(found) == len(set(found))
    return found


@needs_eabench
def test_two_tasks_share_one_exploration(small: Path, tmp_path: Path):
    out = tmp_path / "run"
    both = [start(small, out, f"{part}/2", "--proposals", "6", "--confirm", "1") for part in (1, 2)]
    said = [finish(process) for process in both]
    assert sum("Trained again with fresh seeds" in text for text in said) == 1
    assert sum("ends; the last of the tasks reports, now running: task" in text for text in said) == 1
    stored = state(out)
    assert len(stored["proposals"]) == 6 and stored["finalists"] and not stored["claims"] and not stored["failed"]
    trained = cells(out)
    assert len(trained) == 6 * 4 + len(stored["finalists"]) * 20
    assert sorted(row["cell"] for row in rows(out / "accuracy.csv")) == sorted(trained)
    table = without_speeds(out)
    assert [row["phase"] for row in table] == ["search"] * 6 + ["confirmation"] * len(stored["finalists"])
    assert report([str(out)]) == 0 and "What the exploration found" in (out / "report.html").read_text("utf-8")
    # One process goes on with the folder, and a task with what that has done.
    alone = run(small, "--out", out, "--confirm", "1")
    assert alone.returncode == 0 and "the search of this folder has ended" in alone.stdout, alone.stderr
    assert without_speeds(out) == table
    assert "Trained again with fresh seeds" in finish(start(small, out, "2/2", "--confirm", "1"))
    assert without_speeds(out) == table and cells(out) == trained


@needs_eabench
def test_a_signal_ends_a_task_that_waits_for_the_lock(small: Path, tmp_path: Path):
    out = tmp_path / "run"
    other = Locks(out / "explore", time.sleep)._take(out / "explore" / "lock")
    process = start(small, out, "1/2")
    assert "waiting for" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    finish(process, 130)
    os.close(other)


def kill_with_claim(process: subprocess.Popen, out: Path, number: int) -> list[str]:
    """Sends the signal while the task trains a setting, after it has finished a cell; the proposals until then."""
    table = out / "shards/1-of-2/accuracy.csv"
    wait_until(lambda: process.poll() is not None or (table.exists() and table.read_text().count("\n") > 1))
    process.send_signal(number)
    process.communicate(timeout=60)
    proposals = state(out)["proposals"]
    assert state(out)["claims"] == {"1": proposals[-1]}
    return proposals


@needs_eabench
def test_a_killed_task_is_replaced_by_another(small: Path, tmp_path: Path):
    """The other one does not train the cells again that the first one has finished."""
    out = tmp_path / "run"
    begun = kill_with_claim(start(small, out, "1/2", *SLOW), out, signal.SIGKILL)
    output = finish(start(small, out, "2/2", *SLOW))
    assert "Trained again with fresh seeds" in output
    stored = state(out)
    assert stored["proposals"][:len(begun)] == begun and len(stored["proposals"]) == 2 and stored["claims"] == {}
    assert len(cells(out)) == 2 * 4 + 20 * len(stored["finalists"] or ())
    assert rows(out / "shards/1-of-2/accuracy.csv")


@needs_eabench
def test_a_stopped_task_goes_on_with_its_claim(small: Path, tmp_path: Path):
    out = tmp_path / "run"
    first = start(small, out, "1/2", *SLOW)
    begun = kill_with_claim(first, out, signal.SIGTERM)
    assert first.returncode == 130
    output = finish(start(small, out, "1/2", *SLOW))
    assert state(out)["proposals"][:len(begun)] == begun and f"\n{len(begun)}  " in output
    assert not (out / "shards/2-of-2").exists() and len(cells(out)) >= 8


@needs_eabench
def test_one_process_goes_on_with_a_search_of_tasks(small: Path, tmp_path: Path):
    out = tmp_path / "run"
    output = finish(start(small, out, "2/2", "--proposals", "1"))
    assert "none: no setting was measured in full" in output and state(out)["finalists"] is None
    first, before = state(out)["proposals"], cells(out)
    done = run(small, "--out", out, "--proposals", "6")
    assert done.returncode == 0 and "\n2  " in done.stdout and "\n1  " not in done.stdout, done.stderr
    assert state(out)["proposals"][:1] == first and len(state(out)["proposals"]) == 6 and state(out)["parts"] == 2
    assert cells(out) == before and len(before) == 4  # the other cells are in the run itself
    trained = [row["cell"] for row in rows(out / "accuracy.csv")]
    assert set(before) < set(trained) and len(trained) == len(set(trained)) > 6 * 4


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x", "1", "1/2/3", "-1/2", " 1/2", "1/1000000", ""])
def test_bad_shards_are_one_line(shard: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        explore(["small.ini", "--out", "run", f"--shard={shard}"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1, said
    assert f"--shard: '{shard}' is no part; I/N is allowed, such as 2/8" in said


def test_a_launcher_is_refused():
    options = parser().parse_args(["small.ini", "--out", "run", "--shard", "1/2", "--launcher", "mpirun -n 2"])
    with pytest.raises(DataError, match="--launcher with --shard: a task is one process; one of the two is allowed"):
        check(options, space(4))
