"""What one simulated beamline is told at its start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DETECTORS = ("eig1m", "eig16m")
SAMPLES = ("au-sio2", "nv-lp")

CountdownStyle = Literal["jump", "hold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """Everything that makes one run of the simulation differ from another.

    Attributes
    ----------
    detector
        ``eig1m`` (1030 x 1065) or ``eig16m`` (4150 x 4371).
    sample
        ``au-sio2`` or ``nv-lp``.
    speed
        Simulated seconds per second of the wall clock, > 0.
    seed
        Key of every random draw, >= 0.
    truth
        Folder that receives what a perfect receiver must find; None writes none.
    output
        Folder of the detector's FileWriter files.
    faults
        Faults to inject, ``NAME[:ARG]`` each.
    stream_port, ca_port
        TCP ports on loopback, 0 for a free one.
    prefix
        Start of the beamline's PV names; the ring keeps its own.
    ring_period_s, injection_s, first_injection_s
        Top-up interval, length of an injection, and start of the first one after the start of the simulation, in
        simulated seconds.
    countdown
        ``jump``: ``TPS:TimeToNextInjSec`` jumps to the next interval when an injection begins; ``hold``: it stays at 0
        during the injection. Facilities differ.
    stage_noise_nm
        Standard deviation of the stage's readback at rest, nm.
    packing
        Part of space that the particles fill, 0 to 0.6: they then keep out of each other's way, and their pattern is
        the form factor times a structure factor. 0 leaves that out, as equation (1) of the paper does.
    spread_nm
        Standard deviation of the particles' diameters, core and shell each on its own, nm; 0 makes all alike.
    with_parent
        End when standard input closes, so that a simulation never outlives the program that started it.
    """

    detector: str = "eig1m"
    sample: str = "au-sio2"
    speed: float = 1.0
    seed: int = 0
    truth: Path | None = None
    output: Path = Path("xedm-output/detector")
    faults: tuple[str, ...] = ()
    stream_port: int = 0
    ca_port: int = 0
    prefix: str = "25A:"
    ring_period_s: float = 240.0
    injection_s: float = 4.0
    first_injection_s: float = 240.0
    countdown: CountdownStyle = "jump"
    stage_noise_nm: float = 1.0
    packing: float = 0.0
    spread_nm: float = 0.0
    with_parent: bool = False

    def __post_init__(self) -> None:
        """Refuse values with which no simulation can run."""
        if self.detector not in DETECTORS:
            raise ValueError(f"detector must be one of {', '.join(DETECTORS)}, got {self.detector!r}")
        if self.sample not in SAMPLES:
            raise ValueError(f"sample must be one of {', '.join(SAMPLES)}, got {self.sample!r}")
        if not 0.0 < self.speed <= 1e5:
            raise ValueError(f"speed must be above 0 and at most 1e5, got {self.speed}; 1 is real time")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if not 0.0 <= self.packing <= 0.6:
            raise ValueError(f"packing must be from 0 to 0.6, got {self.packing}; 0 is without structure")
        if not 0.0 <= self.spread_nm <= 3.0:
            raise ValueError(f"spread of diameters must be from 0 to 3 nm, got {self.spread_nm}; 0 makes all alike")
        if not 0.0 < self.injection_s < self.ring_period_s:
            raise ValueError(
                f"injection must last between 0 s and the period of {self.ring_period_s} s, got {self.injection_s} s"
            )
