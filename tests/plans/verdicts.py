"""What a run must be: one valid exposure a point, the same in documents and ledger; and a sum that the truth allows."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sim.truth import read_books, sum_of

SUMMED = ("accepted", "background")
VALID = ("accepted", "low_intensity", "streak", "background")
SAFE = {"shutter": "Closed", "armed": 0, "acquire": 0}

Facts = dict[str, Any]


def primary(facts: Facts, *names: str) -> list[list[Any]]:
    """Values of the primary events."""
    return [[event[name] for name in names] for event in facts["events"].get("primary", [])]


def check_one_valid_exposure_a_point(facts: Facts, points: int, *, missing: int = 0) -> None:
    """Each point has one event and, in the service's ledger, one frame; both name the same frame."""
    events = primary(facts, "seq_num", "eig1m_point_index", "eig1m_valid")
    assert events == [[n + 1, n, 1] for n in range(points)]
    assert facts["exit_status"] == "success"
    valid = [(point, frame) for frame, verdict, point, _, _ in facts["ledger"] if point >= 0 and verdict in VALID]
    assert sorted(valid) == sorted(map(tuple, primary(facts, "eig1m_point_index", "eig1m_frame")))
    by_frame = {frame: (verdict, point) for frame, verdict, point, *_ in facts["ledger"]}
    assert sorted(by_frame) == list(range(points + len(facts["voids"])))
    spoilt = {void[0] for void in facts["voids"]}
    assert {frame for frame, (_, point) in by_frame.items() if point < 0} == spoilt
    assert all(verdict in ("gated", "missing") for verdict, point in by_frame.values() if point < 0)
    told = [
        [event["eig1m_voided_frame"], event["eig1m_voided_point_index"], event["eig1m_voided_reason"]]
        for event in facts["events"].get("voided", [])
    ]
    assert told == facts["voids"]
    assert facts["counts"]["missing"] == missing
    assert facts["state"] == ("incomplete" if missing else "complete")


def check_safe(facts: Facts) -> None:
    """Shutter closed, detector disarmed."""
    assert {name: facts["end"][name] for name in SAFE} == SAFE


def contaminated(facts: Facts, truth: Path) -> list[tuple[int, str]]:
    """Return the frames in a sum that the truth calls gated, with their verdicts; there must be none."""
    spoilt = {entry["frame"] for entry in read_books(truth, facts["series"])["frames"] if entry["label"] == "gated"}
    return [(frame, verdict) for frame, verdict, *_ in facts["ledger"] if verdict != "gated" and frame in spoilt]


def upset_frames(facts: Facts, truth: Path) -> int:
    """Return how many of the run's frames the truth calls gated."""
    return sum(entry["label"] == "gated" for entry in read_books(truth, facts["series"])["frames"])


def sum_is_exact(facts: Facts, truth: Path) -> bool:
    """Whether the sum of the result file is the truth's own sum over the frames that its ledger calls accepted."""
    accepted = [frame for frame, verdict, *_ in facts["ledger"] if verdict == "accepted"]
    exact = sum_of(truth, facts["series"], accepted)
    with h5py.File(facts["result"]) as file:
        return bool(
            np.array_equal(file["entry/sum/data"][()], exact.total)
            and np.array_equal(file["entry/sum/excluded"][()], exact.excluded)
        )
