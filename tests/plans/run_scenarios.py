"""Run scenarios as a program of their own and give what they told."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_scenarios(
    program: str,
    folder: Path,
    *words: str,
    timeout_s: float,
    heard: Callable[[dict[str, Any]], object] = lambda _facts: None,
) -> dict[str, list[dict[str, Any]]]:
    """Give the facts of every run by the scenario's name.

    Parameters
    ----------
    program : str
        File beside this one.
    folder : Path
        For results and logs.
    *words : str
        Names of scenarios, NAME:ARGUMENT for those that take one.
    timeout_s : float
        For all together; a busy machine is slow.
    heard : callable
        Is told the facts of each run as soon as it has ended.
    """
    command = [sys.executable, "-W", "error", str(HERE / program), str(folder), *words]
    told: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        watchdog = threading.Timer(timeout_s, process.kill)
        watchdog.start()
        try:
            for line in process.stdout or ():
                if line.startswith("{"):
                    told.append(json.loads(line))
                    heard(told[-1])
        finally:
            watchdog.cancel()
        if process.wait(timeout_s):
            errors.seek(0)
            raise AssertionError(
                f"{program} {' '.join(words)} ended with {process.returncode}:\n{errors.read()[-3000:]}"
            )
    names = [word.partition(":")[0] for word in words]
    return {name: [facts for facts in told if facts["scenario"] == name] for name in names}
