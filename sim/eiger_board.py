"""The detector's records as one object: read, post, and what a client's write does before anything else."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

from caproto import AlarmSeverity, AlarmStatus

from sim.eiger_records import SWITCH, Record, group_class

Handler = Callable[[Any], Awaitable[Any]]


class Board:
    """Records with their readbacks.

    A write is clamped to the record's bounds, given to the handler of that name if there is one, and shown on the
    readback. A handler returns the value that stands.

    Parameters
    ----------
    records
        The table.
    prefix
        Of all PVs.
    """

    def __init__(self, records: list[Record], prefix: str) -> None:
        self._records = {record.name: record for record in records if record.rbv != "R"}
        self.handlers: dict[str, Handler] = {}
        self.group: Any = type("Eiger", (group_class(records),), {"group_write": self._group_write})(prefix)

    @property
    def pvdb(self) -> dict[str, Any]:
        """PVs by full name."""
        return dict(self.group.pvdb)

    def get(self, name: str) -> Any:
        """Value of a record; enums as text."""
        value = self.group.attr_pvdb[name].value
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    def index(self, name: str) -> int:
        """Index of an enum's state."""
        return int(self.group.attr_pvdb[name].enum_strings.index(self.get(name)))

    def enabled(self, name: str) -> bool:
        """Whether a switch's readback is at its second state."""
        return self.index(f"{name}_RBV") == 1

    async def post(self, name: str, value: Any) -> None:
        """Set a record from the driver's side; enums by index or text."""
        pv = self.group.attr_pvdb[name]
        if not hasattr(pv, "enum_strings"):
            await pv.write(value, verify_value=False)
            return
        index = value if isinstance(value, int) else pv.enum_strings.index(value)
        minor = index == 1 and (name.startswith("Acquire") or tuple(pv.enum_strings) == SWITCH)
        await pv.write(
            pv.enum_strings[index],
            verify_value=False,
            status=AlarmStatus.STATE if minor else AlarmStatus.NO_ALARM,
            severity=AlarmSeverity.MINOR_ALARM if minor else AlarmSeverity.NO_ALARM,
        )

    async def both(self, name: str, value: Any) -> None:
        """Set a record and its readback."""
        await self.post(name, value)
        await self.post(f"{name}_RBV", value)

    async def _written(self, name: str, value: Any) -> Any:
        record = self._records.get(name)
        if record is None:
            return value
        value = _accepted(record, value)
        if handler := self.handlers.get(name):
            value = await handler(value)
        if record.rbv == "Y":
            await self.post(f"{name}_RBV", value)
        return value

    @property
    def _group_write(self) -> Any:
        board = self

        async def group_write(_group: Any, instance: Any, value: Any) -> Any:
            return await board._written(instance.pvspec.attr, value)

        return group_write


def _accepted(record: Record, value: Any) -> Any:
    """The value as the driver takes it: clamped, a state that exists."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if record.states and value not in record.states:
        raise ValueError(f"{record.name} must be one of {', '.join(record.states)}, got {value!r}")
    if record.kind == "analog" and not math.isfinite(value):
        raise ValueError(f"{record.name} must be a finite number, got {value}")
    if record.kind in ("analog", "long"):
        value = value if record.low is None else max(value, type(value)(record.low))
        value = value if record.high is None else min(value, type(value)(record.high))
    return value
