"""`make kills`: a hundred SIGKILLs at random moments with the spool, a hundred without; the last line is JSON.

python tests/soak/run_kills.py [--kills 100] [--rate 100]
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from kills import run_series

KILLS_A_SERIES = 20
SECONDS_A_LIFE = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="with the spool, and as many without")
    parser.add_argument("--rate", type=float, default=100.0, help="frames a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed, rows = False, []
    for spool in (True, False):
        for part in range(0, options.kills, KILLS_A_SERIES):
            kills = min(KILLS_A_SERIES, options.kills - part)
            with tempfile.TemporaryDirectory() as place:
                outcome = run_series(
                    Path(place),
                    kills=kills,
                    frames=round(kills * SECONDS_A_LIFE * options.rate),
                    rate=options.rate,
                    spool=spool,
                    seed=options.seed + part + spool,
                )
            rows.append({"spool": spool, **dataclasses.asdict(outcome)})
            good = outcome.exact and outcome.exact_after_recovery and outcome.balanced and not outcome.wrong
            failed = failed or not good
    print(json.dumps(rows))
    return failed


if __name__ == "__main__":
    sys.exit(main())
