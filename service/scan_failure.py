"""What a device, a plan or a PV says went wrong in a scan, as a sentence and an exit code for the person."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from service.errors import NotReachedError, UserError


@contextlib.contextmanager
def told_in_a_sentence(log: Path) -> Iterator[None]:
    """Run a scan; whatever device or plan raises becomes a `UserError` that names the log.

    Parameters
    ----------
    log : Path
        Where the whole story is; the logs of what the scan started lie beside it.

    Raises
    ------
    NotReachedError
        When something was waited for in vain: its exit code is 4.
    UserError
        For every other failure.

    Examples
    --------
    >>> with told_in_a_sentence(Path("session.log")):
    ...     raise ValueError("stage_x must be sent between its soft limits")
    Traceback (most recent call last):
    ...
    service.errors.UserError: scan failed: stage_x must be sent between its soft limits (log: session.log)
    """
    from bluesky.utils import FailedStatus
    from ophyd.utils import OpException

    try:
        yield
    except UserError:
        raise
    # OSError: a lost connection, a time that has run out. RuntimeError: what `devices.errors` names.
    except (FailedStatus, OpException, OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, FailedStatus) and error.__cause__ is not None else error
        kind = NotReachedError if isinstance(cause, TimeoutError) else UserError
        # Some of ophyd's errors have no text: then their name must do.
        raise kind(f"scan failed: {str(cause) or type(cause).__name__} (log: {log})") from error
