"""Run scenarios as a program of their own and give what they told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_scenarios(program: str, folder: Path, *words: str, timeout_s: float) -> dict[str, list[dict[str, Any]]]:
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
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / program), str(folder), *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{program} {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    names = [word.partition(":")[0] for word in words]
    return {name: [facts for facts in told if facts["scenario"] == name] for name in names}
