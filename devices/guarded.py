"""Signals that ask their device: a command right before it is written, a state in the words of the house."""

from typing import Any

from ophyd import EpicsSignal, EpicsSignalRO


class GuardedSignal(EpicsSignal):
    """A command that its device may refuse, whoever writes it and however: by `set`, by a plan or by hand.

    The device has `check_command(value)`, which is called right before every write and raises when it must not be.
    """

    def put(self, value: Any, *args: Any, **kwargs: Any) -> None:
        """Write the value, unless the device refuses."""
        self.parent.check_command(value)
        super().put(value, *args, **kwargs)


class StateSignal(EpicsSignalRO):
    """A status whose words its device translates (`translate(word)`): IOCs of different makes have different words."""

    def _read_changed(self, value: Any = None, **more: Any) -> None:
        """Take what a monitor brings."""
        word = self.parent.translate(str(more.pop("char_value", value)))
        super()._read_changed(value=word, char_value=word, **more)

    def _fix_type(self, value: Any) -> Any:
        """Take the answer to a question."""
        return self.parent.translate(str(super()._fix_type(value)))
