"""Every way the simulated beamline can go wrong, by name.

A fault of the stream sits between the detector and its sender and turns each message into none, one or several; those
of the place (`sim.faults_place`) befall files, IOCs, ring and stage. Which frames are hit follows from the seed. Where
the argument is *frames*: numbers (``3,7``), or a part of all (``0.1``).
"""

from collections.abc import Iterable

from sim.fault_kinds import Act, Kind
from sim.faults_frames import FRAMES
from sim.faults_place import PLACE
from sim.faults_series import SERIES
from sim.wire import WireMessage

KINDS: dict[str, Kind] = {**FRAMES, **SERIES, **PLACE}


class FaultChain:
    """The faults of one run, applied to every message in the order given.

    Parameters
    ----------
    specs
        ``NAME[:ARG]`` each.
    seed
        Of the run.

    Raises
    ------
    ValueError
        If a name is unknown or an argument cannot be read.
    """

    def __init__(self, specs: Iterable[str] = (), seed: int = 0) -> None:
        self._acts = [_parse(spec, seed + 1000 * i) for i, spec in enumerate(specs)]

    def apply(self, message: WireMessage) -> list[WireMessage]:
        """What goes over the wire instead of `message`."""
        messages = [message]
        for act in self._acts:
            messages = [out for one in messages for out in act(one)]
        return messages


def describe() -> str:
    """One line a fault: name, default argument and what it does."""
    width = max(len(name) for name in KINDS)
    return "\n".join(
        f"{name:<{width}}  {kind.sentence}" + (f" (default {name}:{kind.default})" if kind.default else "")
        for name, kind in KINDS.items()
    )


def _parse(spec: str, seed: int) -> Act:
    name, _, argument = spec.partition(":")
    if name not in KINDS:
        raise ValueError(f"fault must be one of {', '.join(KINDS)}, got {name!r}; --fault help explains them")
    kind = KINDS[name]
    if argument and not kind.default:
        raise ValueError(f"fault {name} takes no argument, got {argument!r}")
    try:
        return kind.make(argument or kind.default, seed)
    except ValueError as error:
        raise ValueError(
            f"argument of fault {name} must look like {kind.default!r}, got {argument!r} ({error}); "
            "--fault help explains it"
        ) from error
