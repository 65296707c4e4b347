"""What a user may ask of the simulated beamline, checked before anything is started."""

from service.errors import UsageError

DETECTORS = ("eig1m", "eig16m")
SAMPLES = ("au-sio2", "nv-lp")
MAX_SPEED = 10_000


def check_simulation(detector: str, sample: str, speed: float | None) -> None:
    """Refuse a simulation that cannot be.

    Raises
    ------
    UsageError
        With the sentence for the person.
    """
    if detector not in DETECTORS:
        raise UsageError(f"--detector must be {' or '.join(DETECTORS)}, got {detector!r}")
    if sample not in SAMPLES:
        raise UsageError(f"--sample must be {' or '.join(SAMPLES)}, got {sample!r}")
    if speed is not None and not 0 < speed <= MAX_SPEED:
        raise UsageError(f"--speed must be above 0 and at most {MAX_SPEED}, got {speed:g}")
