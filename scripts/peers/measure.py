"""Times calls by the rules of `eabench bench`, so that the rows are comparable.

Warm up for 20 ms and at least two calls. A sample is the mean of enough calls to last 50 us (100 us on a GPU). Sample
at least ten times, until the median's relative standard error is 0.5 % or the time limit is reached. Each call uses the
next of many sets of random operands, so that no operand is in a cache. On a GPU PyTorch is timed by events on its
stream. JAX has no events and is timed by the clock, from the first call of a sample until the last result is available.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PRECISION, MIN_SAMPLES, WARM_UP_S = 0.005, 10, 20e-3
LARGEST_SETS = 4096
LONG_CALL_US = 50e3  # calls of this length need no warm-up after the first sample


class Unsupported(Exception):
    """The peer does not support this point here; the message is the row's reason."""


@dataclass
class Timing:
    samples: int
    median_us: float
    p05_us: float
    p95_us: float
    calls: int  # of a sample


def cache_bytes(device: str) -> int:
    """Size of the largest cache. Operands are cold when their sets are twice as large together."""
    if device != "cpu":
        return 128 << 20
    sizes = [32 << 20]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20}.get(text[-1], 0))
    return min(max(sizes), 512 << 20)


def sets_for(set_bytes: int, device: str) -> int:
    return max(2, min(LARGEST_SETS, math.ceil(2 * cache_bytes(device) / set_bytes)))


def rotation(set_bytes: int, device: str) -> Iterator[int]:
    """Yields once for each set of operands to make: as many as make them cold, but no more than two once half of the
    processor's free memory is used, since plain implementations keep context x context matrices with each set."""
    before = free_bytes()
    for made in range(sets_for(set_bytes, device)):
        if made >= 2 and device == "cpu" and free_bytes() < before / 2:
            return
        yield made


def note_on_rotation(made: int, set_bytes: int, device: str) -> str:
    """The remark of a row whose operands may be partly in a cache."""
    wanted = sets_for(set_bytes, device)
    return "" if made == wanted else f"{made} of {wanted} sets of operands, for lack of memory"


def timed(run: Callable[[], None], device: str, cuda: object = None) -> float:
    """Seconds that `run` takes: by the clock, or by two events on the stream of `cuda`, which is torch.cuda."""
    if device == "cpu":
        begin_s = time.perf_counter()
        run()
        return time.perf_counter() - begin_s
    first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)  # type: ignore[attr-defined]
    first.record()
    run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3


def quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    return ordered[below] + (place - below) * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below])


def _median_error(ordered: list[float]) -> float:
    """Standard error of a median from the order statistics around it (a 99 % interval, 2 z wide)."""
    if len(ordered) < 3:
        return math.inf
    z, count = 2.5758293035489004, len(ordered)
    place = max(1, math.floor((count + 1) / 2 - z * math.sqrt(count / 4) + 0.5))
    return (ordered[count - place] - ordered[place - 1]) / (2 * z)


def sample(take: Callable[[int], float], max_s: float, device: str = "cpu", last: Timing | None = None) -> Timing:
    """take(calls) makes that many calls one after another, each on the next set, and returns their total seconds.
    `last`: the previous timing."""
    least_s, calls, warm = 50e-6 if device == "cpu" else 100e-6, 1, 0
    begin_s = time.perf_counter()
    while last is None or last.median_us < LONG_CALL_US:
        seconds = take(calls)
        if seconds < least_s and calls < 1 << 20:
            calls = max(2 * calls, math.ceil(calls * least_s / max(seconds, 1e-9) * 1.2))
            continue
        warm += 1
        spent_s = time.perf_counter() - begin_s
        if (warm >= 2 and spent_s >= WARM_UP_S) or spent_s >= max_s:
            break
    samples: list[float] = []
    begin_s, next_check = time.perf_counter(), MIN_SAMPLES
    while True:
        samples.append(take(calls) / calls)
        time_limit = time.perf_counter() - begin_s >= max_s
        if len(samples) < next_check and not time_limit:
            continue
        ordered = sorted(samples)
        if time_limit or _median_error(ordered) <= PRECISION * quantile(ordered, 0.5):
            return Timing(len(samples), *(1e6 * quantile(ordered, share) for share in (0.5, 0.05, 0.95)), calls)
        next_check = max(len(samples) + 1, int(1.25 * len(samples)))


def free_bytes() -> int:
    """Memory that programs can still allocate, page cache included."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def one_line(error: BaseException, limit: int = 160) -> str:
    """An exception as a row's reason."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
