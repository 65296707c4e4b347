"""`make soak`: series after series with faults of stream and place at random moments; the last line is JSON.

python tests/soak/run_soak.py [--minutes 60] [--seed 1] [--only N]

Every broken invariant is printed with seed, series and faults; `--only N` repeats series N. Exit code 1 on any.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import place_faults as place
from kills import at_risk, check_outputs, count_in, is_exact, on_the_way, recover, status_of
from soak_plan import PlaceFault, Plan, plan_of
from verdict import judge, results_of, usable_of
from watch import Watch

from service.processes import Running, start, start_live

IDLE_S = 15.0
_FINAL = ("complete", "incomplete", "failed")
_CATCH_UP_HZ = 1000.0
"""So many frames a second may come while a service works off what waited for it."""
_SETTLE_S = 60.0
_MARK = "XEDM_SOAK"
_STEERED = ("screening.chi2_ratio_max", "screening.intensity_ratio_min", "screening.background_ratio_max")
_USUAL = dict(zip(_STEERED, (1.6, 0.3, 0.6), strict=True))


@dataclass
class Tally:
    """What the soak has seen so far.

    Attributes
    ----------
    lost, recovered : int
        Frames that a series lacked although they were sent, and frames that `xedm recover` brought.
    slowest_recovery_s, slowest_start_s, slowest_exit_s, slowest_end_s : float
        Of `xedm recover`; from the start of a killed service to its ready line; of SIGTERM; from the last message of a
        series to its final state.
    course : list of (int, int, float, int)
        After each series: its number, the service's process id, memory in MiB, descriptors.
    """

    series: int = 0
    frames: int = 0
    kills: int = 0
    lost: int = 0
    recovered: int = 0
    exact: int = 0
    results: int = 0
    looks: int = 0
    slowest_recovery_s: float = 0.0
    slowest_start_s: float = 0.0
    slowest_exit_s: float = 0.0
    slowest_end_s: float = 0.0
    slowest_answer_s: float = 0.0
    faults: Counter = field(default_factory=Counter)
    broken: list = field(default_factory=list)
    course: list = field(default_factory=list)


class Soak:
    """One folder, one address, one service at a time.

    Parameters
    ----------
    folder : Path
    seed : int
    rate : float
        Frames a second.
    """

    def __init__(self, folder: Path, seed: int, rate: float) -> None:
        self.folder, self.out, self.seed, self.rate = folder, folder / "out", seed, rate
        self.ports = _free_ports(4)
        self.stream = f"tcp://127.0.0.1:{self.ports[0]}"
        self.tally, self.watch = Tally(), Watch(self.ports[2], self.ports[3])
        self.live: Running | None = None
        self.spool: bool | None = None
        self.bound = 0
        self.wrong: list[str] = []

    # -- the service -----------------------------------------------------------------------------------------------

    def start(self, *, spool: bool) -> Running:
        settings = [f"spool.enabled={str(spool).lower()}", "spool.frames_per_file=100", "stream.check_hash=always"]
        settings += [f"stream.idle_timeout_s={IDLE_S:g}", "stream.drain_s=1", "recovery.checkpoint_every_s=2"]
        settings += [f"pvs.port={self.ports[2]}", "reconstruction.seeds=2", "reconstruction.iterations=30"]
        settings += ["reconstruction.generations=1", "reconstruction.at_frames=[100,500]"]
        begun = time.monotonic()
        self.live = start_live(self.out, stream=self.stream, http=self.ports[1], settings=settings)
        self.tally.slowest_start_s = max(self.tally.slowest_start_s, time.monotonic() - begun)
        self.spool, self.watch.live = spool, self.live
        return self.live

    def stop(self) -> None:
        """End the service between two series."""
        live, self.live, self.watch.live = self.live, None, None
        if live is None:
            return
        code, seconds = place.terminate(live)
        self._exited(code, seconds)

    def _exited(self, code: int | None, seconds: float) -> None:
        self.tally.slowest_exit_s = max(self.tally.slowest_exit_s, seconds)
        if code != 0 or seconds > 10.0:
            self.wrong.append(f"SIGTERM: exit code {code} after {seconds:.1f} s, must be 0 within 10 s")

    # -- one series ------------------------------------------------------------------------------------------------

    def run(self, plan: Plan) -> None:
        """Run one series and hold what is left of it against the truth."""
        self.wrong, self.bound = [], 0
        self.watch.wrong.clear()
        if self.live is None or self.spool != plan.spool:
            self.stop()
            self.start(spool=plan.spool)
        else:
            place.steer(self.live, dict(_USUAL))
        work = self.folder / f"series_{plan.number}"
        sender = self._sender(plan, work)
        try:
            self._place_faults(plan)
            sent = _last_words(sender, plan)
            status = self._final_status()
        finally:
            sender.stop()
        self._check(plan, work, sent, status)
        self._count(plan)
        shutil.rmtree(work)
        for path in [*self.out.glob(f"series_{plan.number - 1}.*"), *self.out.glob(f"series_{plan.number - 1}_*")]:
            path.unlink(missing_ok=True)

    def _sender(self, plan: Plan, work: Path) -> Running:
        words = ["-m", "sim.throughput", "--detector", "eig1m", "--level", "sparse", "--pool", "4", "--cascade"]
        words += [
            "--frames",
            str(plan.frames),
            "--rate",
            str(plan.rate),
            "--seed",
            str(self.seed * 10_000 + plan.number),
        ]
        words += ["--series", str(plan.number), "--port", str(self.ports[0])]
        words += ["--truth", str(work / "truth.npz"), "--files", str(work / "files")]
        for spec in plan.stream:
            words += ["--fault", spec]
        return start("sender", words, work / "sender.log", 120)

    def _place_faults(self, plan: Plan) -> None:
        begun = time.monotonic()
        for fault in plan.place:
            time.sleep(max(0.0, begun + fault.at * plan.frames / plan.rate - time.monotonic()))
            self._do(fault, plan)

    def _do(self, fault: PlaceFault, plan: Plan) -> None:
        live = self.live
        pid = live.process.pid
        match fault.name:
            case "disk-full":
                with place.disk_full(pid):
                    time.sleep(fault.for_s)
            case "folder-away":
                with place.folder_away(self.out):
                    time.sleep(fault.for_s)
            case "stopped":
                with self.watch.excused(), place.stopped(pid):
                    time.sleep(fault.for_s)
            case "deaf-viewers":
                with place.deaf_viewers(live.ready["http"], 20):
                    time.sleep(fault.for_s)
            case "imaging-killed":
                place.kill_imaging(pid, 3 * fault.for_s)
            case "second-service":
                said = place.second_service(self.out)
                if said:
                    self.wrong.append(f"a second service on the same folder must be harmless: {said}")
            case "steered":
                factor = 0.5 + fault.at
                refusal = place.steer(live, {name: min(1.0, value * factor) if value < 1 else value * factor
                                             for name, value in _USUAL.items()})  # fmt: skip
                if refusal:
                    self.wrong.append(f"settings refused: {refusal}")
            case "kill":
                with self.watch.excused():
                    seen, asked = status_of(live), time.monotonic()
                    place.kill(live)
                    self.bound += at_risk(seen) + on_the_way(_CATCH_UP_HZ, asked)
                    self.wrong += [f"after kill: {what}" for what in check_outputs(self.out)]
                    self.tally.kills += 1
                    self.start(spool=plan.spool)
            case "terminate":
                with self.watch.excused():
                    self.bound += status_of(live)["at_risk"]["receive_queue"]
                    self.stop()
                    self.wrong += [f"after SIGTERM: {what}" for what in check_outputs(self.out)]
                    self.start(spool=plan.spool)

    def _final_status(self) -> dict:
        """Wait until the series has been in a final state for a while."""
        begun, final_since = time.monotonic(), None
        allowed = IDLE_S + _SETTLE_S
        while True:
            status = status_of(self.live)
            now = time.monotonic()
            final = status["state"] in _FINAL or (status["state"] == "idle" and not status["behind"])
            final_since = (final_since or now) if final else None
            if final_since and now - final_since > 2.0:
                self.tally.slowest_end_s = max(self.tally.slowest_end_s, final_since - begun)
                if final_since - begun > IDLE_S + 10:
                    self.wrong.append(f"final state only after {final_since - begun:.1f} s")
                return status
            if now - begun > allowed:
                self.wrong.append(f"no final state within {allowed:g} s: {status['state']}, {status['counts']}")
                return status
            time.sleep(0.2)

    # -- what must hold --------------------------------------------------------------------------------------------

    def _check(self, plan: Plan, work: Path, sent: dict, status: dict) -> None:
        truth, results = work / "truth.npz", results_of(self.out, plan.number)
        headless = "no-header" in plan.stream
        if headless:
            self.wrong += [f"{path.name} exists although no header came" for path in results]
        elif not results:
            self.wrong.append(f"no result file; status: {status['state']} of series {status['series']}")
        elif status["series"] != plan.number:
            self.wrong.append(f"status must be of series {plan.number}, got {status['series']}")
        self.wrong += judge(results, truth, plan.frames)
        self.wrong += [f"at the end: {what}" for what in check_outputs(self.out)]
        if not headless:
            self._losses(plan, sent, results)
            if len(results) == 1:  # the status is that of the last one
                self._messages(sent, status)
        self.tally.results += len(results)
        self.tally.exact += sum(is_exact(result, truth) for result in results)
        for result in results:
            self._recover(result, work / "files" / f"series_{plan.number}_master.h5", truth)
        self.wrong += self.watch.wrong

    def _losses(self, plan: Plan, sent: dict, results: list[Path]) -> None:
        had: set[int] = set().union(*(usable_of(result) for result in results)) if results else set()
        explained = {*sent.get("never", []), *sent.get("damaged", [])}
        lost = sorted(set(range(plan.frames)) - had - explained)
        self.tally.lost += len(lost)
        if len(lost) > self.bound:
            self.wrong.append(f"{len(lost)} frames lost ({lost[:8]}...), at most {self.bound} could be by /status")
        if surely := sorted(had & explained):
            self.wrong.append(f"frames are booked as usable that never came whole: {surely[:10]}")

    def _messages(self, sent: dict, status: dict) -> None:
        if self.bound or "messages" not in sent:
            return
        counts = status["counts"]
        came, must = counts["received"] - counts["foreign"] - counts["pending"], sent["messages"]
        if came != must:
            self.wrong.append(f"{must} image messages were sent, {came} are in the books: {counts}")

    def _recover(self, result: Path, master: Path, truth: Path) -> None:
        begun = time.monotonic()
        found = recover(result, master)
        self.tally.slowest_recovery_s = max(self.tally.slowest_recovery_s, time.monotonic() - begun)
        if isinstance(found, str):
            self.wrong.append(found)
            return
        self.tally.recovered += count_in(found["recovered"])
        if found["missing"] or found["unresolved"] or found["damaged"]:
            rest = {name: found[name] for name in ("missing", "unresolved", "damaged")}
            self.wrong.append(f"{result.name}: after recovery from the detector's files {rest}")
        if not is_exact(result, truth):
            self.wrong.append(f"{result.name}: sums are wrong after recovery")

    def _count(self, plan: Plan) -> None:
        tally, pid = self.tally, self.live.process.pid
        tally.series += 1
        tally.frames += plan.frames
        tally.looks, tally.slowest_answer_s = self.watch.looks, self.watch.slowest_s
        tally.faults.update([spec.partition(":")[0] for spec in plan.stream] + [one.name for one in plan.place])
        tally.course.append((plan.number, pid, round(place.memory_mib(pid), 1), place.descriptors(pid)))
        for what in self.wrong:
            tally.broken.append({"seed": self.seed, "series": plan.number, "faults": plan.text(), "what": what})


def _last_words(sender: Running, plan: Plan) -> dict:
    """What the sender says it sent; it ends when the last message has been taken."""
    sender.process.wait(4 * plan.frames / plan.rate + 120)
    deadline = time.monotonic() + 5
    while not sender.lines and time.monotonic() < deadline:
        time.sleep(0.05)
    return json.loads(sender.lines[-1])


def _free_ports(count: int) -> list[int]:
    """TCP ports that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def left_behind(mark: str) -> list[str]:
    """Every process but this one that was started by this soak and still runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(path.parent.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        except OSError:
            continue
    return [line for line in found if line]


def growth(course: list) -> list[str]:
    """Say where a process has grown from series to series.

    With the spool on, its queue and more files belong to a series; a leak shows as growth each time.
    """
    wrong = []
    for pid in {row[1] for row in course}:
        rows = [row for row in course if row[1] == pid][1:]
        if len(rows) >= 2 and rows[-1][3] > rows[0][3] + 5:
            wrong.append(f"descriptors of process {pid} grew: {[row[3] for row in rows]}")
        if len(rows) >= 3 and all(later[2] > 1.1 * earlier[2] for earlier, later in pairwise(rows[-3:])):
            wrong.append(f"memory of process {pid} grew: {[row[2] for row in rows]} MiB")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=100.0, help="frames a second")
    parser.add_argument("--first", type=int, default=1, help="begin with this series")
    parser.add_argument("--only", type=int, help="repeat this series and nothing else")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything started is ended
    mark = os.environ[_MARK] = uuid.uuid4().hex
    deadline, number = time.monotonic() + 60 * options.minutes, options.only or options.first
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.seed, options.rate)
        try:
            while time.monotonic() < deadline:
                plan = plan_of(options.seed, number, options.rate)
                before = len(soak.tally.broken)
                begun = time.monotonic()
                _one(soak, plan)
                print(
                    f"series {number} ({time.monotonic() - begun:.0f} s): {plan.text()}: {_said(soak, before)}",
                    flush=True,
                )
                number += 1
                if options.only:
                    break
        finally:
            soak.watch.close()
            soak.wrong = []
            soak.stop()
            log = soak.out / "live.log"
            print(log.read_text(errors="replace")[-1500:] if soak.tally.broken and log.exists() else "", flush=True)
    tally = soak.tally
    for what in soak.wrong + growth(tally.course) + [f"left behind: {line}" for line in left_behind(mark)]:
        tally.broken.append({"seed": options.seed, "series": None, "faults": "", "what": what})
        print(f"BROKEN {what}")
    print(json.dumps(vars(tally)))
    return bool(tally.broken)


def _one(soak: Soak, plan: Plan) -> None:
    """Run a series; a harness that stumbles is a broken invariant too, and the next series begins afresh."""
    try:
        soak.run(plan)
    except Exception as error:  # noqa: BLE001 - whatever it is, the soak goes on and says so
        for what in [*soak.wrong, f"{type(error).__name__}: {error}"]:
            soak.tally.broken.append({"seed": soak.seed, "series": plan.number, "faults": plan.text(), "what": what})
        if soak.live is not None:
            place.kill(soak.live)
            soak.live = soak.watch.live = None


def _said(soak: Soak, before: int) -> str:
    broken = soak.tally.broken[before:]
    return "good" if not broken else "BROKEN " + " | ".join(one["what"] for one in broken)


if __name__ == "__main__":
    sys.exit(main())
