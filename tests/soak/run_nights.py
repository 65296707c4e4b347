"""`make nights`: what a beamline goes through at three in the morning, held against the truth; the last line is JSON.

python tests/soak/run_nights.py [--exposures 1000] [--every 1] [--aborts 50] [--kills 10] [--only PART ...]

- exposures: scans with injections by the clock and every fifth exposure upset (lost beam, flickers of 20 ms, an
  injection out of turn, shutter closed, NaN and INVALID);
- messages: a 3 x 3 scan paused, paused from outside, and suspended at every message, one run each;
- aborts: an exposure of over 2 s aborted, and a scan after it;
- kills: the IOCs hang up and return; the live service and the simulated beamline are killed and started again.

In every scan that is to succeed, the documents pass event-model's schemas and rules, each point has exactly one valid
exposure, the same in documents and ledger, and no frame that the truth calls gated is summed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "plans"))
from run_scenarios import run_scenarios
from verdicts import (
    check_one_valid_exposure_a_point,
    check_safe,
    contaminated,
    sum_is_exact,
    upset_frames,
)

PROGRAM = "interruption_scenarios.py"
PATIENCE_S = 3 * 3600.0
COLUMNS, ROWS = 25, 10
NAMED_WITHIN_S = 10.0
Facts = dict[str, Any]


class Part:
    """One part of the night: what was run and what was wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.wrong: list[str] = []

    def judge(self, facts: Facts, points: int, truth: Path) -> None:
        """Check a run that has to succeed."""
        self.numbers["runs"] += 1
        where = facts.get("where", f"run {facts['number']}")
        if facts["error"]:
            self.wrong.append(f"{where}: {facts['error']}")
            return
        self.numbers["exposures"] += len(facts["ledger"])
        self.numbers["points"] += points
        self.numbers["void"] += len(facts["voids"])
        self.numbers["spoilt"] += upset_frames(facts, truth)
        bad, before = contaminated(facts, truth), len(self.wrong)
        self.numbers["contaminated"] += len(bad)
        try:
            check_one_valid_exposure_a_point(facts, points)
            check_safe(facts)
        except AssertionError as error:
            self.wrong.append(f"{where}: {str(error)[:300]}")
        if bad:
            self.wrong.append(f"{where}: contaminated {bad}")
        if len(self.wrong) > before:
            self.wrong += [f"{where}: the session said: {sentence}" for sentence in facts["warnings"]]
            self.wrong.append(f"{where}: void {facts['voids']}, ledger {facts['ledger']}")

    def row(self) -> dict[str, Any]:
        """Everything, for the JSON."""
        return {"part": self.name, **self.numbers, "slowest_s": round(self.slowest_s, 1), "wrong": self.wrong}


def exposures(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """Thousand exposures and what befalls them."""
    scans = -(-options.exposures // (COLUMNS * ROWS))
    told = run_scenarios(PROGRAM, folder, *[f"many:{COLUMNS}x{ROWS}"] * scans, timeout_s=PATIENCE_S)
    reasons: Counter[str] = Counter()
    for facts in told["many"]:
        part.judge(facts, COLUMNS * ROWS, folder / "truth")
        reasons.update(reason for _, _, reason in facts["voids"])
        if not facts["error"] and not sum_is_exact(facts, folder / "truth"):
            part.wrong.append("the sum is not the truth's own")
    print("  void for: " + ", ".join(f"{reason} {times}" for reason, times in reasons.most_common()), flush=True)


def messages(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """Interrupt anywhere."""

    def heard(facts: Facts) -> None:
        book, deadline = folder / "truth" / f"series_{facts['series']}.json", time.monotonic() + 60.0
        while not facts["error"] and not book.exists() and time.monotonic() < deadline:  # the simulation writes it
            time.sleep(0.05)
        part.judge(facts, 9, folder / "truth")
        part.numbers["interrupted"] += facts["interrupted"]
        if not part.wrong:  # a thousand runs would fill a disk
            for place, name in (
                ("truth", f"series_{facts['series']}[._]*"),
                ("detector", f"series_{facts['series']}_*"),
            ):
                for path in (folder / place).glob(name):
                    path.unlink()
        if part.numbers["runs"] % 60 == 0 or len(part.wrong) > part.numbers["told"]:
            part.numbers["told"] = len(part.wrong)
            print(f"  {facts['where']}: {dict(part.numbers)}, {len(part.wrong)} wrong", *part.wrong[-1:], flush=True)

    run_scenarios(PROGRAM, folder, f"messages:{options.every}", timeout_s=PATIENCE_S, heard=heard)


def aborts(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """Abort in long exposures and scan again."""
    told = run_scenarios(PROGRAM, folder, f"aborts:{options.aborts}", timeout_s=PATIENCE_S)
    for facts in told["aborts"]:
        if not facts["aborted"]:
            part.judge(facts, 2, folder / "truth")
            continue
        part.numbers["aborted"] += 1
        try:
            check_safe(facts)
            assert facts["exit_status"] == "abort", facts["exit_status"]
        except AssertionError as error:
            part.wrong.append(f"abort {facts['number'] // 2}: {error}")


def kills(part: Part, folder: Path, options: argparse.Namespace) -> None:
    """IOCs and the service go and return."""
    times = options.kills
    words = f"iocs_return:{times}", f"service_returns:{times}", f"sim_killed:{times}"
    told = run_scenarios(PROGRAM, folder, *words, timeout_s=PATIENCE_S)
    for facts in told["iocs_return"]:
        part.judge(facts, 4, folder / "truth")
    for facts in told["service_returns"]:
        part.judge(facts, 3, folder / "truth")
    for facts in told["sim_killed"]:
        if "after_return_s" not in facts:
            continue  # a scan after it: each life of the simulation counts its series, and its truth, anew
        part.numbers["killed"] += 1
        part.slowest_s = max(part.slowest_s, facts["after_return_s"])
        try:
            check_safe(facts)
            assert facts["error"], "a scan without its detector succeeded"
            assert facts["error"][0] in ("DetectorError", "NotConnectedError"), facts["error"]
            assert facts["after_return_s"] < NAMED_WITHIN_S, facts["after_return_s"]
        except AssertionError as error:
            part.wrong.append(f"kill {facts['number'] // 2}: {error}")
    after = [facts for facts in told["sim_killed"] if "after_return_s" not in facts]
    for facts in after:
        part.numbers["runs"] += 1
        if facts["error"] or facts["exit_status"] != "success":
            part.wrong.append(f"scan after kill {facts['number'] // 2}: {facts['error']}")


PARTS: dict[str, Callable[[Part, Path, argparse.Namespace], None]] = {
    one.__name__: one for one in (exposures, messages, aborts, kills)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exposures", type=int, default=1000, help="points of the scans with upsets")
    parser.add_argument(
        "--every",
        default="1",
        help="at every Nth message; N/: one way each, in turn; N,pause: one way; N,pause,100: from there on",
    )
    parser.add_argument("--aborts", type=int, default=50)
    parser.add_argument("--kills", type=int, default=10, help="of each kind")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    options = parser.parse_args()
    rows = []
    for name in options.only:
        part, begun, place = Part(name), time.monotonic(), Path(tempfile.mkdtemp(prefix=f"night_{name}_"))
        print(f"{name}: in {place}, which stays when something is wrong", flush=True)
        PARTS[name](part, place, options)
        if not part.wrong:
            shutil.rmtree(place)
        rows.append({**part.row(), "minutes": round((time.monotonic() - begun) / 60.0, 1)})
        shown = ", ".join(f"{number} {word}" for word, number in part.numbers.items())
        print(f"{name}: {shown}; {len(part.wrong)} wrong", flush=True)
        for sentence in part.wrong[:20]:
            print(f"  {sentence}", flush=True)
    print(json.dumps(rows))
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
