"""How the command line speaks: text for people, JSON lines for programs, logs on stderr."""

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def say(text: str) -> None:
    """Print a line for a person."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def advance(bar: "Progress", task: "TaskID", done: int, total: int) -> None:
    """Move a progress bar."""
    bar.update(task, completed=done, total=total)


def set_up_logging() -> None:
    """Send structured logs to stderr, readable, in colour only on a terminal."""
    plain = logging.StreamHandler(sys.stderr)
    plain.setLevel(logging.WARNING)  # the audit's own level is lower; what it adds is for its file
    logging.basicConfig(handlers=[plain], level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Its own formatter shows every local variable: of an array a screenful, of a broken HDF5 file the end.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def end_with_input(stop: threading.Event) -> None:
    """End when the other side of standard input is gone, however it went; what it says does not matter."""
    # Not sys.stdin: its lock, held by a thread that waits, would be in the way when the interpreter ends.
    while os.read(0, 4096):
        pass
    stop.set()
