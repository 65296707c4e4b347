"""The piezo stage: motor records in um that must be where they were sent."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ophyd import Component, Device, EpicsMotor, EpicsSignalRO, FormattedComponent
from ophyd.status import DeviceStatus, Status
from ophyd.utils import LimitError, StatusTimeoutError

from devices.asked import Answer, Asked, ask
from devices.errors import StageError
from devices.motor_status import GO, PAUSE, STOP, what_is_wrong
from devices.severity import NO_ANSWER
from devices.waiting import done_status

TOLERANCE_UM = 0.2
"""A thirtieth of the narrow side of the beam (6 um), far above the noise of a piezo."""
MOVE_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 2.0
ASKED_AHEAD_S = 0.01
"""How long what the record said when it came to rest is news, wall s."""
_NOT_ASKED = -math.inf, Asked()
UNITS = ("um", "µm", "μm", "micron", "microns")


class ArrivalStatus(DeviceStatus):
    """Done when the record is done *and* the readback is at the target.

    Of one that set out early nobody looks at the readback: the stage is triggered before the exposure, which does.
    """

    def __init__(self, device: Any, moved: Any, target_um: float, *, early: bool) -> None:
        super().__init__(device)
        self._moved = moved
        self.target_um, self.early = target_um, early

    def _handle_failure(self) -> None:
        """Leave the axis alone: the move underneath has stopped it already, and the next move may have begun."""

    def watch(self, func: Any) -> None:
        """Report progress of the move underneath to `func` (progress bars use this)."""
        self._moved.watch(func)


class PiezoAxis(EpicsMotor):
    """One axis, an EPICS motor record in um.

    The stock `ophyd.EpicsMotor` calls a move a success that was stopped half way, and waits for ever for one that the
    record refused. Here a move ends in success only with the readback within a tolerance of the target, and every
    other end has a name.

    Parameters
    ----------
    prefix : str
        The motor record.
    tolerance_um : float
        Largest accepted distance of the readback from the target.
    move_timeout_s : float
        Wall seconds after which a move has failed.
    """

    limit_violation = Component(EpicsSignalRO, ".LVIO", kind="omitted", auto_monitor=True)
    hardware_status = Component(EpicsSignalRO, ".MSTA", kind="omitted")
    retries_used_up = Component(EpicsSignalRO, ".MISS", kind="omitted")
    stop_pause_go = Component(EpicsSignalRO, ".SPMG", kind="omitted")

    on_motion: Callable[[bool], object] | None = None
    """Told when the record begins (True) or ends to move; of the class, since monitors may come during `__init__`."""

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        tolerance_um: float = TOLERANCE_UM,
        move_timeout_s: float = MOVE_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, timeout=move_timeout_s, **kwargs)
        self.tolerance_um = tolerance_um
        self._target_um: float | None = None
        self._origin_um = math.nan
        self._halted = threading.Event()
        self._excused = self._refusing = self._called_off = False
        self._moved: Any = None
        self._arrival: ArrivalStatus | None = None
        self._set_out_for: ArrivalStatus | None = None
        self.limit_violation.subscribe(self._refused, run=False)

    def set(
        self, new_position: float, *, timeout: float | None = None, moved_cb: Any = None, wait: bool = False
    ) -> ArrivalStatus:
        """Move to `new_position` (um); the status fails with `StageError` unless the readback ends there.

        Sent to where it has set out for already, it gives the status of that move, which may have ended.
        """
        early, self._set_out_for = self._set_out_for, None
        if early is not None and (early.target_um == float(new_position) or (early.done and not early.success)):
            arrival = early
        else:
            arrival = self._begin(float(new_position), timeout, early=False)
        if moved_cb is not None:
            arrival.add_callback(lambda _: moved_cb(obj=self))
        if wait:
            arrival.wait()
        return arrival

    def _begin(self, target_um: float, timeout: float | None, *, early: bool) -> ArrivalStatus:
        self._wait_at_rest()
        self._halted.clear()
        self._refusing = self._called_off = False
        self._moved = None
        self._target_um = target_um
        self._origin_um = math.nan if self.position is None else float(self.position)
        try:
            moved = super().move(target_um, wait=False, timeout=timeout)
        except BaseException:
            self._target_um = None
            raise
        self._moved = moved
        arrival = self._arrival = ArrivalStatus(self, moved, target_um, early=early)
        moved.add_callback(lambda status: self._finish(arrival, status))
        return arrival

    def set_out(self, position: float) -> ArrivalStatus:
        """Begin to move to `position` (um); a failure is told to whoever sends the axis anywhere next.

        Whether it has come all the way is seen when the stage is triggered. An axis that was sent there before, and
        has arrived, is not sent again.
        """
        last = self._arrival
        if last is not None and last.done and last.success and self._target_um == last.target_um == float(position):
            arrival = last
        else:
            arrival = self._begin(float(position), None, early=True)
        self._set_out_for = arrival
        return arrival

    def move(self, position: float, wait: bool = True, **kwargs: Any) -> ArrivalStatus:
        """Move to `position` (um) and wait, unless told not to."""
        return self.set(position, wait=wait, **kwargs)

    def _move_changed(self, *args: Any, value: Any = None, **kwargs: Any) -> None:
        """Take what the record says of its motion."""
        try:
            if self.on_motion is not None and self._moving != (value != 1):
                self.on_motion(value != 1)
        finally:
            super()._move_changed(*args, value=value, **kwargs)

    def stop(self, *, success: bool = False) -> None:
        """Stop now. With `success` (a RunEngine that pauses) the pending move ends quietly, wherever the axis is."""
        self._target_um = self._set_out_for = None
        self._excused = success
        # ophyd stops a move that has failed; that is not why it failed.
        self._called_off |= self._moved is None or not self._moved.done
        self._halted.set()
        super().stop(success=success)

    def check_value(self, pos: float) -> None:
        """Refuse a position outside the soft limits.

        Raises
        ------
        ophyd.utils.LimitError
            With the limits.
        """
        try:
            super().check_value(pos)
        except LimitError:
            low, high = self.limits
            raise LimitError(
                f"{self.name} must be sent between its soft limits {low:g} and {high:g} um, got {pos:g} um; change the "
                "scan, or the limits on the motor's screen"
            ) from None

    def trigger(self) -> DeviceStatus:
        """Check that the axis is still where it was last sent; the status fails with `StageError` when not."""
        status = DeviceStatus(self)
        problem = self.off_target()
        if problem is None:
            status.set_finished()
        else:
            status.set_exception(problem)
        return status

    def check_units(self) -> None:
        """Refuse an axis that does not count in um.

        Raises
        ------
        StageError
            When the record's EGU is something else.
        """
        units = str(self.motor_egu.get(use_monitor=False)).strip()
        if units not in UNITS:
            raise StageError(
                f"{self.name} must count in um, got units {units!r}; set {self.prefix}.EGU (and its scale) to um, or "
                "scan another stage"
            )

    @property
    def has_target(self) -> bool:
        """Whether it was sent anywhere, and neither stopped nor lost since."""
        return self._target_um is not None

    def is_at(self, readback_um: float) -> bool:
        """Whether a readback is where the axis was last sent; one that was sent nowhere may be anywhere."""
        target = self._target_um  # of one moment: a stop may forget it
        return target is None or abs(readback_um - target) <= self.tolerance_um

    def off_target(self) -> StageError | None:
        """Return what is wrong with where the axis is, None when it is where it was sent.

        Raises
        ------
        StageError
            When the readback cannot be read.
        """
        target = self._target_um
        if target is None:
            return None
        answer = self._answer(self.user_readback)
        readback = answer.value
        if self.is_at(readback):
            return self._means_nothing(target) if answer.is_invalid else None
        if self._read(self.limit_violation) == 1:  # a refused move may pulse DMOV like one that was made
            return self._refusal(target)
        return StageError(
            f"{self.name} must be within {self.tolerance_um:g} um of its target {target:g} um, got {readback:g} um; "
            f"{self._record_says() or 'look for a stop from another screen, a stall, or a servo that is off'}"
        )

    def _means_nothing(self, target_um: float) -> StageError:
        return StageError(
            f"{self.name} must show that it is at its target {target_um:g} um, got a readback that its record calls "
            "INVALID; see whether it has lost its controller"
        )

    def _wait_at_rest(self) -> None:
        """Let a stop run out: its DMOV would otherwise end the next move."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._halted.is_set() and self._read(self.motor_done_move) != 1:
            if time.monotonic() > deadline:
                raise StageError(
                    f"{self.name} must come to rest within {STOP_TIMEOUT_S:g} s of a stop, got a motor that still moves"
                )
            time.sleep(0.01)

    def _finish(self, arrival: ArrivalStatus, moved: Any) -> None:
        problem: Exception | None
        try:
            problem = self._problem_of(arrival, moved)
        except StageError as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - this is a callback: a move that is not ended here hangs the scan
            problem = StageError(
                f"{self.name} must say how its move to {arrival.target_um:g} um ended, got {type(error).__name__}: "
                f"{error}; look at the motor's screen before the next move"
            )
        self._end(arrival, problem)

    def _problem_of(self, arrival: ArrivalStatus, moved: Any) -> StageError | None:
        error = moved.exception(timeout=0)
        if self._refusing:
            return self._refusal(arrival.target_um)
        if self._halted.is_set() and self._excused:
            return None
        if error is None and not self._halted.is_set():
            return None if arrival.early else self.off_target()
        if isinstance(error, StatusTimeoutError):
            return self._overdue(arrival, moved)
        return self._ended_badly()

    def _read(self, signal: Any) -> Any:
        """Ask the record for a value of this moment; `StageError` names a PV that does not answer."""
        return self._answer(signal).value

    def _answer(self, signal: Any) -> Answer:
        try:
            return ask(signal)
        except NO_ANSWER as error:
            raise StageError(
                f"{self.name} must answer, but the PV {signal.pvname} could not be read ({error}); see whether its IOC "
                "runs, and where the axis is, before the next move"
            ) from error

    def _end(self, arrival: ArrivalStatus, problem: Exception | None) -> None:
        if problem is not None:
            self._target_um = None  # told once; the next scan may not use this axis
            arrival.set_exception(problem)
        else:
            arrival.set_finished()

    def _overdue(self, arrival: ArrivalStatus, moved: Any) -> StageError:
        if self._read(self.limit_violation) == 1:
            return self._refusal(arrival.target_um)
        readback, done = self._read(self.user_readback), self._read(self.motor_done_move)
        return StageError(
            f"{self.name} must reach {arrival.target_um:g} um within {moved.timeout:g} s, got {readback:g} um with "
            f"DMOV={done:g}: {self._why_overdue(float(readback), int(done))}; look at the motor's screen, then move it "
            "by hand"
        )

    def _why_overdue(self, readback_um: float, done: int) -> str:
        if says := self._record_says():
            return says
        if done == 1:
            return "the record never began to move"
        if self._quietly(self.stop_pause_go, otherwise=GO) in (STOP, PAUSE):
            return "the record is at Stop or Pause (SPMG), set it to Go"
        if abs(readback_um - self._origin_um) <= self.tolerance_um:
            return "it has not moved at all, a stall or a servo that is off"
        return "it is still on its way"

    def _ended_badly(self) -> StageError:
        high, low = self._read(self.high_limit_switch), self._read(self.low_limit_switch)
        says = self._record_says(high=bool(high), low=bool(low))
        if self._called_off and not (high or low):
            why = "it was stopped"
        elif says:
            why = says
        else:
            why = f"its record is in alarm ({self.user_readback.alarm_status}, {self.user_readback.alarm_severity})"
        readback = self._read(self.user_readback)
        return StageError(
            f"{self.name} must reach its target, but {why} at {readback:g} um; look at the motor's screen before the "
            "next move"
        )

    def _record_says(self, *, high: bool | None = None, low: bool | None = None) -> str:
        """What the record reports, empty when it reports nothing or does not answer."""
        return ", ".join(
            what_is_wrong(
                self._quietly(self.hardware_status),
                high=self._quietly(self.high_limit_switch) == 1 if high is None else high,
                low=self._quietly(self.low_limit_switch) == 1 if low is None else low,
                missed=self._quietly(self.retries_used_up) == 1,
            )
        )

    def _quietly(self, signal: Any, otherwise: int = 0) -> int:
        """Ask for what is only worth a word more in an error; `otherwise` when there is no answer."""
        try:
            value = signal.get(use_monitor=False)
        except NO_ANSWER:
            return otherwise
        return otherwise if value is None else int(value)

    def _refusal(self, target_um: float) -> StageError:
        low, high = self._read(self.low_limit_travel), self._read(self.high_limit_travel)
        return StageError(
            f"{self.name} must be sent between its soft limits {low:g} and {high:g} um, got {target_um:g} um; "
            "the motor record refused the move (LVIO)"
        )

    def _refused(self, *, value: int, **_: object) -> None:
        """End a move that the record refused: its DMOV would never pulse."""
        arrival = self._arrival
        if value == 1 and arrival is not None and not arrival.done and not self._moving:
            self._refusing = True
            self._done_moving(success=False)


class Departure(Device):
    """Set it to the next place, (x, y) in um: the stage sets out for it while other things go on.

    The status is done when the move has ended, however that was. The failure of a move is told when the axes are sent
    to that place, or to another one, and one that has ended elsewhere when the stage is triggered there: what is under
    way until then is not spoilt by it.
    """

    def set(self, place: tuple[float, float]) -> DeviceStatus:
        """Set out."""
        x, y = (axis.set_out(position) for axis, position in zip(self.parent.axes, place, strict=False))
        status = DeviceStatus(self)
        x.add_callback(lambda _: y.add_callback(lambda _: status.set_finished()))
        return status


class PiezoStage(Device):
    """Sample stage: x across the beam, y up, z along the beam, all in um.

    Parameters
    ----------
    x, y, z : str
        The three motor records.
    tolerance_um, move_timeout_s : float
        See `PiezoAxis`.
    """

    x = FormattedComponent(PiezoAxis, "{_x}", labels=("motors",))
    y = FormattedComponent(PiezoAxis, "{_y}", labels=("motors",))
    z = FormattedComponent(PiezoAxis, "{_z}", labels=("motors",))
    departure = Component(Departure, "", kind="omitted")

    def __init__(
        self,
        *,
        x: str,
        y: str,
        z: str,
        name: str,
        tolerance_um: float = TOLERANCE_UM,
        move_timeout_s: float = MOVE_TIMEOUT_S,
        **kwargs: Any,
    ) -> None:
        self._x, self._y, self._z = x, y, z
        super().__init__("", name=name, **kwargs)
        self._asked = _NOT_ASKED
        for axis in self.axes:
            axis.tolerance_um = tolerance_um
            axis.timeout = move_timeout_s
            axis.on_motion = self._ask_ahead

    @property
    def axes(self) -> tuple[PiezoAxis, PiezoAxis, PiezoAxis]:
        """The three axes in the order x, y, z."""
        return self.x, self.y, self.z

    def trigger(self) -> Status:
        """Check that every axis is still where it was last sent.

        Raises
        ------
        StageError
            At once, when one is not.
        """
        (since, asked), self._asked = self._asked, _NOT_ASKED
        if time.monotonic() - since > ASKED_AHEAD_S:
            asked = self._ask()
        # Of two axes the first to arrive has the other one asked while that is still on its way: a bad answer is not
        # the last word.
        if not self._is_there(asked):
            problems = [problem for axis in self.axes if (problem := axis.off_target()) is not None]
            if problems:
                raise StageError("; ".join(str(problem) for problem in problems))
        return done_status()

    def _ask_ahead(self, moving: bool) -> None:
        """Ask where the stage stands as soon as an axis is at rest: who triggers it then need not wait so long."""
        self._asked = _NOT_ASKED if moving else (time.monotonic(), self._ask())

    def _ask(self) -> Asked:
        return Asked(*(axis.user_readback for axis in self.axes if axis.has_target))

    def _is_there(self, asked: Asked) -> bool:
        with suppress(*NO_ANSWER):
            answers = [(axis, asked.take(axis.user_readback)) for axis in self.axes if axis.has_target]
            return all(axis.is_at(answer.value) and not answer.is_invalid for axis, answer in answers)
        return False
