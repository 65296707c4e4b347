"""The simulation's own exact sum over any frames of a series, made by a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import UserError

_TIMEOUT_S = 3600.0


def own_sum(truth: Path, series: int, frames: Sequence[int], output: Path) -> Path:
    """Have the simulation write its sum over some frames; return the file (`sum`, `excluded`, `frames`).

    Parameters
    ----------
    truth : Path
        Folder of the simulation's truth.
    series : int
    frames : sequence of int
    output : Path
        Where to; `.npz`.

    Raises
    ------
    UserError
        When it cannot.
    """
    asked = output.with_suffix(".txt")
    asked.write_text(",".join(map(str, frames)), encoding="utf-8")
    command = ["-m", "sim.truth", str(truth), "--series", str(series), "--frames", f"@{asked}"]
    done = subprocess.run(
        [sys.executable, "-P", *command, "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    asked.unlink()
    if done.returncode:
        raise UserError(f"the simulation's own sum cannot be had: {done.stderr.strip()[-400:]}")
    return output
