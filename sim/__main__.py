"""``python -m sim``: start the simulated beamline and wait."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from sim.faults import FaultChain, describe
from sim.ports import claim, replace_epics_environment, server_environment
from sim.prompt_loop import prompt_loop
from sim.settings import DETECTORS, SAMPLES, SimSettings

EXAMPLE = "example: python -m sim --detector eig1m --sample au-sio2 --speed 100 --seed 1 --truth truth"


def parse(arguments: list[str] | None = None) -> SimSettings:
    """Settings from the command line; wrong usage ends with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m sim", description="Simulated XEDM beamline on loopback.", epilog=EXAMPLE
    )
    add = parser.add_argument
    add("--detector", choices=DETECTORS, default="eig1m")
    add("--sample", choices=SAMPLES, default="au-sio2")
    add("--speed", type=float, default=1.0, help="simulated seconds per second (default 1)")
    add("--seed", type=int, default=0, help="repeats a run (default 0)")
    add("--truth", type=Path, metavar="DIR", help="write what a perfect receiver must find")
    add(
        "--fault",
        dest="faults",
        action="append",
        default=[],
        metavar="NAME[:ARG]",
        help="inject a fault, repeatable; help lists them",
    )
    add("--output", type=Path, default=Path("xedm-output/detector"), metavar="DIR", help="the detector's own files")
    add("--stream-port", type=int, default=0, metavar="PORT", help="0 = free port")
    add("--ca-port", type=int, default=0, metavar="PORT", help="0 = free port")
    add("--prefix", default="25A:", help="start of the PV names (default 25A:)")
    add(
        "--first-injection",
        dest="first_injection_s",
        type=float,
        default=240.0,
        metavar="S",
        help="start of the first top-up injection, simulated s (default 240; 1e9: none)",
    )
    add("--countdown", choices=("jump", "hold"), default="jump", help="countdown during an injection")
    add("--packing", type=float, default=0.0, help="part of space that the particles fill, 0 to 0.6 (default 0)")
    add("--spread-nm", type=float, default=0.0, help="standard deviation of the particles' diameters (default 0)")
    add("--with-parent", action="store_true", help="end when standard input closes")
    values = vars(parser.parse_args(arguments))
    if "help" in values["faults"]:
        parser.exit(message=describe() + "\n")
    try:
        settings = SimSettings(**(values | {"faults": tuple(values["faults"])}))
        FaultChain(settings.faults, settings.seed)
    except ValueError as error:
        parser.error(str(error))
    return settings


def main() -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    settings = parse()
    _log_plainly()
    try:
        ports = claim(settings.ca_port)
        replace_epics_environment(server_environment(ports))
        # caproto reads the environment when it is imported.
        from sim.server import serve

        sys.setswitchinterval(5e-4)
        with asyncio.Runner(loop_factory=prompt_loop) as runner:
            runner.run(serve(settings, ports, _say_ready))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sim: {error}\n")
        return 1
    return 0


def _log_plainly() -> None:
    """Warnings on stderr; a put that a client got wrong is one line, not a traceback."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("sim: %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_shorten_refused_put)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _shorten_refused_put(record: logging.LogRecord) -> bool:
    if record.exc_info and str(record.msg).startswith("Invalid write request"):
        record.msg, record.args = f"refused a client's put: {record.exc_info[1]!r}", ()
        record.exc_info = record.exc_text = None
    return True


def _say_ready(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
