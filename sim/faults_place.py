"""Faults beside the stream: the detector's disk, the IOCs, the ring and the stage of the simulated beamline.

They change no message. The simulated devices ask `PlaceFaults` what is wrong with them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sim.fault_kinds import Act, Kind, Pick, leave_alone, natural, pick, positive, seconds_at_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFaults:
    """What is wrong beside the stream; None or 0: nothing.

    Attributes
    ----------
    files_full
        Frame number from which the FileWriter writes nothing more.
    files_late_s
        How long after it is whole a data file gets its name, simulated s.
    ioc_slow_s
        How much later every put completes, simulated s.
    ioc_death, beam_dump, motor_stall
        For how long (simulated s), and at which frame number it begins.
    upsets
        Which exposures something befalls, see `sim.upsets`.
    """

    files_full: int | None = None
    files_late_s: float = 0.0
    ioc_slow_s: float = 0.0
    ioc_death: tuple[float, int] | None = None
    beam_dump: tuple[float, int] | None = None
    motor_stall: tuple[float, int] | None = None
    upsets: Pick | None = None


def _time_at_frame(argument: str) -> tuple[float, int]:
    seconds, frame = seconds_at_frame(argument)
    return positive(str(seconds)), frame


_READ: dict[str, Callable[[str], Any]] = {
    "files-full": natural,
    "files-late": positive,
    "ioc-slow": positive,
    "ioc-death": _time_at_frame,
    "beam-dump": _time_at_frame,
    "motor-stall": _time_at_frame,
    "upsets": lambda argument: pick(argument, 0),
}
_FIELD = {"files-late": "files_late_s", "ioc-slow": "ioc_slow_s"}


def _kind(name: str, default: str, sentence: str) -> Kind:
    def make(argument: str, _seed: int) -> Act:
        _READ[name](argument)
        return leave_alone

    return Kind(sentence=sentence, default=default, make=make)


PLACE: dict[str, Kind] = {
    name: _kind(name, default, sentence)
    for name, default, sentence in (
        ("files-full", "5", "the detector's disk is full from frame ARG: the file being written never gets its name."),
        ("files-late", "5", "the detector's data files get their names late; ARG is simulated seconds."),
        ("ioc-slow", "2", "every put to an IOC completes late; ARG is simulated seconds."),
        ("ioc-death", "5@5", "the IOCs are away for a while; ARG is simulated seconds @ frame number."),
        ("beam-dump", "60@5", "the stored beam is lost, later refilled; ARG is simulated seconds @ frame number."),
        ("motor-stall", "60@5", "the stage loses its servo for a while; ARG is simulated seconds @ frame number."),
        ("upsets", "0.1", "beam, shutter or ring PVs fail in the middle of some exposures; ARG is frames."),
    )
}


def place_faults(specs: Iterable[str]) -> PlaceFaults:
    """Those of ``NAME[:ARG]`` that are beside the stream; of several of one name the last counts.

    Raises
    ------
    ValueError
        If an argument cannot be read.
    """
    values: dict[str, Any] = {}
    for spec in specs:
        name, _, argument = spec.partition(":")
        if name in PLACE:
            field = _FIELD.get(name, name.replace("-", "_"))
            values[field] = _READ[name](argument or PLACE[name].default)
    return PlaceFaults(**values)
