"""A device with two states: a command for each, and a status that alone says which one has been reached."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ophyd import Device, EpicsSignal, FormattedComponent
from ophyd.status import DeviceStatus

from devices.asked import ask
from devices.errors import DeviceError
from devices.guarded import StateSignal
from devices.severity import NO_ANSWER, is_invalid
from devices.status_move import StatusMove

FAULT = "Fault"


class TwoStates(Device):
    """What shutter and beam stop have in common: `set(word)` writes the word's command and waits for its status.

    Anything but the two states is neither of them: on the way, at fault, a word that nobody knows, a record that is
    INVALID, a PV that does not answer.

    Parameters
    ----------
    command, status : str
        PVs of the command (an enum, written by index) and of the status (an enum, read by its words).
    values : mapping of str to int
        Index to write for each word.
    timeout_s : float
        Wall seconds for a move.
    states : mapping of str to str, optional
        The IOC's word for the state that each word reaches, where it is not that of `REACHED`.
    faults : sequence of str
        The IOC's words for a fault.
    """

    REACHED: ClassVar[Mapping[str, str]]
    """The status that ends each word's move."""
    FAILURE: ClassVar[type[DeviceError]]
    ADVICE: ClassVar[str]

    command = FormattedComponent(EpicsSignal, "{_command}", kind="omitted")
    status = FormattedComponent(StateSignal, "{_status}", string=True, auto_monitor=True, kind="normal")

    def __init__(
        self,
        *,
        command: str,
        status: str,
        name: str,
        values: Mapping[str, int],
        timeout_s: float,
        states: Mapping[str, str] | None = None,
        faults: Sequence[str] = (FAULT,),
        **kwargs: Any,
    ) -> None:
        self._command, self._status = command, status
        self._values = values
        given = {self.REACHED[word]: theirs for word, theirs in (states or {}).items()}
        # Our own word from an IOC that has another one for that state means something that we do not know.
        self._ours = {ours: f"{ours}?" for ours in given} | dict.fromkeys(faults, FAULT)
        self._ours |= {theirs: ours for ours, theirs in given.items()}
        self.timeout_s = timeout_s
        super().__init__("", name=name, **kwargs)

    def translate(self, word: str) -> str:
        """Our word for one of the IOC's; one that was not given a meaning stays as it is."""
        return self._ours.get(word, word)

    def has_reached(self, word: str) -> bool:
        """Whether the status says that this state has been reached."""
        if not self.status.connected or is_invalid(self.status):
            return False
        return bool(self.status.get() == self.REACHED[word])

    def is_now(self, word: str) -> bool:
        """Whether the IOC, asked at this moment, says that this state has been reached; no answer means no."""
        try:
            state = ask(self.status)
        except NO_ANSWER:
            return False
        return bool(state.value == self.REACHED[word]) and not state.is_invalid

    def check_value(self, value: str) -> None:
        """Refuse anything but the two words.

        Raises
        ------
        ValueError
            With the words that are known.
        """
        if value not in self.REACHED:
            known = " or ".join(repr(word) for word in self.REACHED)
            raise ValueError(f"{self.name} must be set to {known}, got {value!r}")

    def command_now(self, word: str) -> None:
        """Write a command without waiting."""
        self.command.put(self._values[word])

    def set(self, value: Any) -> DeviceStatus:
        """Move; the status is done when the status PV says so, or fails with the device's own error."""
        self.check_value(value)
        return StatusMove(
            self,
            write=lambda: self.command_now(value),
            readback=self.status,
            target=self.REACHED[value],
            bad=(FAULT,),
            timeout_s=self.timeout_s,
            error=self.FAILURE,
            advice=self.ADVICE,
        )
