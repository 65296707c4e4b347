"""What the prompt shows when something goes wrong: a sentence where the sentence says it all, else the traceback."""

import sys
from types import TracebackType
from typing import Any

from devices.errors import DeviceError
from service.errors import UserError

OURS = ("devices", "plans", "service")
MORE = "(%tb shows where)"


def load_ipython_extension(shell: Any) -> None:
    """Give an IPython shell bluesky's magics and short errors; IPython calls this."""
    from bluesky.magics import BlueskyMagics

    shell.register_magics(BlueskyMagics)
    shell.set_custom_exc((Exception,), show)


def show(shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int = 0) -> None:
    """Show an exception; IPython makes this a method of the shell.

    What our own code raises on purpose says what, where, which value and what to do; the sixty lines of a RunEngine
    above it would only push it off the screen. A pause is no error at all.
    """
    from bluesky.utils import FailedStatus, RunEngineInterrupted

    if isinstance(error, FailedStatus) and isinstance(error.__cause__, DeviceError):
        kind, error = type(error.__cause__), error.__cause__
    on_purpose = isinstance(error, (DeviceError, UserError)) or (isinstance(error, ValueError) and is_ours(trace))
    if not (on_purpose or isinstance(error, RunEngineInterrupted)):
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
        return
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace  # for %tb
    sys.stderr.write(f"{kind.__name__}: {str(error).strip()}\n{MORE}\n")


def is_ours(trace: TracebackType) -> bool:
    """Whether an exception was raised by a line of this project, and not below it or by what a person typed."""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in OURS
