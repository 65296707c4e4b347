"""Look for known weaknesses of the locked dependencies: `make audit`.

Ends with 0 when none is known, 1 when one is or a hash is missing, 4 when the list of weaknesses cannot be reached.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[2]
NOT_REACHED = 4
TIMEOUT_S = 900


def without_hashes(text: str) -> list[str]:
    """Name what a lock file wants without a fixed version and its hashes."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)).splitlines()
    wanted = [line.strip() for line in lines if line.strip()]
    whole = re.compile(r"[A-Za-z0-9][\w.\-\[\],]*==[^\s;]+(?: *;[^#]*?)?(?:\s+--hash=sha256:[0-9a-f]{64})+(?:\s+#.*)?")
    return [line.split(" --hash")[0][:100] for line in wanted if not whole.fullmatch(line)]


def weaknesses(report: str) -> list[str] | None:
    """Read pip-audit's JSON: one line a known weakness; None when it is no report, or looked at nothing.

    A mirror that has the packages only answers "not found" for each of them.
    """
    try:
        found = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    if all("skip_reason" in package for package in found):
        return None
    lines = []
    for package in found:
        if "skip_reason" in package:
            lines.append(f"{package['name']} was not looked at: {package['skip_reason']}")
        for item in package.get("vulns", []):
            mended = ", ".join(item["fix_versions"]) or "no version yet"
            lines.append(f"{package['name']} {package['version']}: {item['id']}, mended in {mended}")
    return lines


def audit(lock: Path, command: list[str]) -> int:
    """Look one lock file up; print what is known."""
    words = [*command, "--requirement", str(lock), "--require-hashes", "--disable-pip", "--format", "json"]
    words += ["--progress-spinner", "off"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        report, said = done.stdout, done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        report, said = "", str(error)
    lines = weaknesses(report)
    if lines is None:
        why = "the index knows packages only" if report else " ".join(said.strip().splitlines()[-1:])[:300]
        sys.stderr.write(
            f"audit: {lock.name} has NOT been looked at: no list of known weaknesses was reached ({why}); "
            "run it where https://pypi.org/pypi answers\n"
        )
        return NOT_REACHED
    for line in lines:
        sys.stdout.write(f"audit: {lock.name}: {line}\n")
    if not lines:
        sys.stdout.write(f"audit: {lock.name}: no known weakness\n")
    return 1 if lines else 0


def main(arguments: list[str] | None = None) -> int:
    """Check the hashes of every lock file, then look each up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="*", type=Path, default=sorted(HOUSE.glob("requirements*.lock")))
    parser.add_argument("--with", dest="command", default="pip-audit", help="how pip-audit is started")
    parser.add_argument("--hashes-only", action="store_true", help="look nothing up")
    chosen = parser.parse_args(arguments)
    codes = [0]
    for lock in chosen.locks:
        bare = without_hashes(lock.read_text(encoding="utf-8"))
        for line in bare:
            sys.stdout.write(f"audit: {lock.name}: {line} must be one version with its hashes; run: make lock\n")
        codes.append(1 if bare else 0)
    sys.stdout.write(
        f"audit: hashes of {len(chosen.locks)} lock files {'are missing' if 1 in codes else 'are there'}\n"
    )
    if not chosen.hashes_only:
        codes += [audit(lock, shlex.split(chosen.command)) for lock in chosen.locks]
    return 1 if 1 in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
