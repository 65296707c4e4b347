"""Throw damaged messages at the reader and the pipeline, on two cores, and see that they stand.

    python tests/fuzz/run_fuzz.py --messages 1000000

Every message goes the whole way from its bytes to the books. Fails when anything is raised, a process dies, a message
takes over a second, the books do not balance, memory grows by 50 MB, or the good series at the end is not complete
with its exact sum. The last line on stdout is JSON. Message i of a seed is always the same: see `message_of`.
"""

import argparse
import faulthandler
import gc
import json
import multiprocessing
import os
import random
import resource
import sys
import time
from collections import Counter
from ctypes import CDLL, c_longlong
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from corpus import GoodSeries, all_series, final_series
from mutations import damage

from processing.frame import EncodedFrame, Refusal, SeriesEnd, SeriesHeader
from processing.wire import WireReader
from service.config import Settings
from service.mailbox import Letter, Mailbox
from service.pipeline import Pipeline
from service.series import Series

MAX_CPU_S, MAX_WALL_S, MAX_GROWTH_BYTES = 1.0, 10.0, 50 * 2**20
_LOOK_EVERY = 500
_STRETCH = 24
_WEIGH_EVERY = 20_000


@dataclass
class Report:
    """What one process saw."""

    messages: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    growth_bytes: int = 0
    peak_bytes: int = 0
    series: int = 0
    booked: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def message_of(index: int, seed: int, corpus: list[GoodSeries], good: list[list[bytes]]) -> list[bytes]:
    """Return message `index` of a seed: series follow one another, most of their messages are damaged."""
    rng = random.Random(f"{seed}:{index}")
    series, place = corpus[index // _STRETCH % len(corpus)], index % _STRETCH
    if place < len(series.header):
        parts, spoilt = series.header[place], rng.random() < 0.25 / len(series.header)
    elif place == _STRETCH - 1:
        parts, spoilt = series.end, rng.random() < 0.5
    else:
        number = rng.choice((index, index, index, index - 1)) % 1000
        parts, spoilt = rng.choice(series.images)(number), rng.random() < 0.85
    return damage(parts, good, rng) if spoilt else parts


class Target:
    """The way of a message from its bytes to the books, without sockets and threads."""

    def __init__(self) -> None:
        settings = Settings().changed(
            {
                "screening.enabled": False,
                "screening.hold_mib": 4,
                "stream.drain_s": 0.0,
                "stream.check_hash": "never",  # so that damaged pixels reach the decoder
            }
        )
        self.mailbox = Mailbox(1000)
        self.reader = WireReader()
        self.ended, self.booked = 0, Counter[str]()
        self.pipeline = Pipeline(settings, user_mask=None, on_open=lambda _: None, on_end=self._end)

    def _end(self, series: Series) -> None:
        self.ended += 1
        self.booked.update(series.ledger.counts)
        self.pipeline.conclude(series, saved=True)

    def feed(self, parts: list[bytes]) -> list[str]:
        """Carry a message and return what it was taken for."""
        found = self.reader.read([memoryview(part) for part in parts])
        for message in found:
            assert isinstance(message, SeriesHeader | EncodedFrame | SeriesEnd | Refusal)
            self.mailbox.put(message, lambda: True)
            letter = self.mailbox.take(0.0)
            assert isinstance(letter, Letter)
            self.pipeline.take(letter, self.mailbox.done)
            self.pipeline.catch_up()
        return [type(message).__name__ for message in found] or ["nothing yet"]

    def look(self) -> None:
        """Do what the status does, and see that every image message is in one place."""
        pipeline = self.pipeline
        pipeline.tick(time.monotonic(), idle=True)
        ledger = pipeline.series.ledger if pipeline.series else None
        counts = dict(ledger.counts) if ledger else {}
        booked = sum(counts.values()) - counts.get("missing", 0) + pipeline.foreign + (ledger.pending if ledger else 0)
        received = self.mailbox.images_received - pipeline.images_before
        assert received == booked + len(pipeline.waiting), f"books must balance: {received} received, {counts}"
        if ledger and pipeline.series:
            ledger.missing_frames(pipeline.series.announced)

    def finish(self) -> None:
        """Send a good series, and see that it is complete and its sum exact."""
        for parts in final_series():
            self.feed(parts)
        self.look()
        series = self.pipeline.series
        row, col = np.indices((37, 41))
        expected = 2 * ((row * 31 + col * 17 + row * col) % 251) + (row > 0)
        expected[0, -1] = 0
        assert self.pipeline.state == "complete", f"good series must be complete, got {self.pipeline.state}"
        assert series is not None
        assert series.accepted is not None
        np.testing.assert_array_equal(series.accepted.data, expected)


def resident_bytes() -> int:
    """Return the memory of this process, without what the C library keeps though nobody holds it."""
    gc.collect()
    trim = getattr(CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(seed: int, start: int, stop: int, at: "c_longlong") -> Report:
    """Send the messages `start` to `stop` of a seed."""
    corpus, target, report = all_series(), Target(), Report()
    good = [parts for series in corpus for parts in series.messages()]
    for parts in good:  # every type and encoding once, so that all loops are compiled before memory is looked at
        target.feed(parts)
    target.finish()
    step = min(_WEIGH_EVERY, max(1, (stop - start) // 4))
    weights: list[int] = []
    for index in range(start, stop):
        at.value = index
        parts = message_of(index, seed, corpus, good)
        wall, cpu = time.monotonic(), time.process_time()
        try:
            report.kinds.update(target.feed(parts))
            if index % _LOOK_EVERY == 0:
                target.look()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            report.faults.append(f"message {index} of seed {seed}: {type(error).__name__}: {error}")
            target = Target()
        taken = time.process_time() - cpu
        report.slowest_s = max(report.slowest_s, taken)
        if taken > MAX_CPU_S or time.monotonic() - wall > MAX_WALL_S:
            report.faults.append(f"message {index} of seed {seed} took {taken:.2f} s")
        if (index - start) % step == step - 1:
            weights.append(resident_bytes())
    try:
        target.finish()
    except AssertionError as error:
        report.faults.append(f"after message {stop - 1} of seed {seed}: {error}")
    report.messages, report.series, report.booked = stop - start, target.ended, target.booked
    report.growth_bytes = max(weights) - weights[0]
    report.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if report.growth_bytes > MAX_GROWTH_BYTES:
        report.faults.append(f"memory grew by {report.growth_bytes / 2**20:.0f} MB")
    return report


def _work(seed: int, start: int, stop: int, at: "c_longlong", results: "multiprocessing.Queue[Report]") -> None:
    faulthandler.enable()
    results.put(run(seed, start, stop, at))


def run_in_processes(messages: int, workers: int, seed: int, timeout_s: float) -> list[Report]:
    """Share the messages among processes; one that dies is a report with a fault."""
    # glibc keeps up to 64 MB of freed memory for each thread and cannot be asked for it; with one arena it can, so
    # that the memory of the process is what the program holds.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    context = multiprocessing.get_context("spawn")
    bounds = [messages * number // workers for number in range(workers + 1)]
    places = [context.Value("q", -1, lock=False) for _ in range(workers)]
    queues = [context.Queue() for _ in range(workers)]
    processes = [
        context.Process(target=_work, args=(seed, start, stop, place, queue), daemon=True)
        for start, stop, place, queue in zip(bounds, bounds[1:], places, queues, strict=False)
    ]
    for process in processes:
        process.start()
    deadline, reports = time.monotonic() + timeout_s, []
    for process, queue, place in zip(processes, queues, places, strict=True):
        report = None
        while report is None and time.monotonic() < deadline:
            alive = process.is_alive()
            if not queue.empty() or alive:
                try:
                    report = queue.get(timeout=0.2)
                except Exception:  # noqa: BLE001 - nothing there yet
                    continue
            else:
                break
        if report is None:
            how = f"exit code {process.exitcode}" if not process.is_alive() else "hanging"
            report = Report(faults=[f"process died at message {place.value} of seed {seed} ({how})"])
            process.kill()
        process.join(5)
        reports.append(report)
    return reports


def main() -> int:
    """Run, print, and return 1 when something did not stand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for all of it")
    options = parser.parse_args()
    started = time.monotonic()
    reports = run_in_processes(options.messages, options.workers, options.seed, options.timeout)
    faults = [fault for report in reports for fault in report.faults]
    for fault in faults[:20]:
        print(fault)
    summary = {
        "messages": sum(report.messages for report in reports),
        "seconds": round(time.monotonic() - started, 1),
        "slowest_ms": round(1e3 * max(report.slowest_s for report in reports), 1),
        "growth_mb": round(max(report.growth_bytes for report in reports) / 2**20, 1),
        "peak_mb": round(max(report.peak_bytes for report in reports) / 2**20, 1),
        "series": sum(report.series for report in reports),
        "taken_for": dict(sum((report.kinds for report in reports), Counter())),
        "booked": {name: count for name, count in sum((r.booked for r in reports), Counter()).items() if count},
        "faults": len(faults),
    }
    print(json.dumps(summary))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
