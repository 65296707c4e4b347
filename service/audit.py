"""The audit log: one line for every steering action and every refusal, in a file that only this user can read."""

import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from service.errors import UserError

AUDIT_NAME = "audit.log"
MAX_REFUSALS_A_MINUTE = 60
_logger = logging.getLogger("xedm.audit")


class FewRefusals(logging.Filter):
    """Lets every action pass, of refusals sixty a minute; the next line that passes tells how many more there were.

    Anybody on the machine can be refused as often as he likes; the disk is there for results.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minute = -1.0
        self._passed = 0
        self._withheld = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one line."""
        if record.levelno >= logging.WARNING:
            minute = self._clock() // 60
            if minute != self._minute:
                self._minute, self._passed = minute, 0
            if self._passed >= MAX_REFUSALS_A_MINUTE:
                self._withheld += 1
                return False
            self._passed += 1
        if self._withheld:
            record.msg, record.args = f"{record.getMessage()} (and {self._withheld} refusals before it)", ()
            self._withheld = 0
        return True


class OneLine(logging.Formatter):
    """Time in UTC and the words; whatever a client put into them, a record stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with what is not printable written out."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        text = f"{when}Z {record.levelname} {record.getMessage()}"
        return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def keep_audit(folder: Path) -> Callable[[], None]:
    """Write the audit lines to `<folder>/audit.log` from now on, mode 0600; return what ends it.

    Raises
    ------
    UserError
        When the file cannot be written.
    """
    path = folder / AUDIT_NAME
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchmod(handle, 0o600)  # a file of an earlier run may be more open
    except OSError as error:
        raise UserError(
            f"the audit log must be a file this user can write to, got {path} ({error.strerror}); "
            "choose another output folder or mend its permissions"
        ) from None
    stream = os.fdopen(handle, "a", encoding="utf-8")
    writer = logging.StreamHandler(stream)
    writer.setFormatter(OneLine())
    few = FewRefusals()
    before = _logger.level
    _logger.setLevel(logging.INFO)
    _logger.addFilter(few)
    _logger.addHandler(writer)

    def end() -> None:
        _logger.removeHandler(writer)
        _logger.removeFilter(few)
        _logger.setLevel(before)
        stream.close()

    return end
