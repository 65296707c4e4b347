"""The user frame of a motor record: fields, dial and user coordinates, soft limits, units."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

import math

import numpy as np
from caproto import AlarmSeverity, AlarmStatus, SkipWrite
from caproto.server import PVGroup, PvpropertyDouble, pvproperty

from sim.axis import CONTROLLER_SPEED_UM_S, Axis
from sim.clock import SimClock

RESOLUTION_UM = 0.001
"""One step of the controller (MRES)."""

USER_FIELDS = ("VAL", "RBV", "HLM", "LLM", "OFF", "RLV", "TWV")
DIAL_FIELDS = ("DVAL", "DRBV", "DHLM", "DLLM", "DIFF")
ALARMED_FIELDS = ("RBV", "DRBV", "RRBV", "DMOV", "MOVN", "HLS", "LLS", "LVIO", "MSTA", "MISS", "DIFF", "TDIR")

MSTA_DIRECTION, MSTA_DONE, MSTA_PLUS_LIMIT, MSTA_POSITION = 1 << 0, 1 << 1, 1 << 2, 1 << 5
MSTA_ENCODER, MSTA_PROBLEM, MSTA_MOVING, MSTA_MINUS_LIMIT, MSTA_HOMED = 1 << 8, 1 << 9, 1 << 10, 1 << 13, 1 << 14


class MotorValue(PvpropertyDouble):
    """VAL: a target outside the limits is refused by the record (LVIO), not by failing the client's request."""

    async def verify_value(self, value):
        """Leave the judgement to the record."""
        return await self.putter(self, value)


class MotorFrame(PVGroup):
    """Fields of a motor record that say where the axis is and may go, in user and dial coordinates.

    Parameters
    ----------
    prefix
        Name of the record.
    axis
        What it drives.
    clock
        The simulated clock.
    description
        DESC.
    noise_um
        Standard deviation of the readback, um.
    key
        Key of the readback's noise: the same key and the same moves read the same.
    """

    motor = pvproperty(name="", dtype=MotorValue, value=0.0, record="motor", precision=4, units="um")

    def __init__(
        self,
        prefix: str,
        *,
        axis: Axis,
        clock: SimClock,
        description: str = "",
        noise_um: float = 0.001,
        key: tuple[int, ...] = (0,),
    ) -> None:
        super().__init__(prefix)
        self._axis = axis
        self._clock = clock
        self._noise_um = noise_um
        self._key = key
        self._dial_zero_um = 0.0
        self._moves = 0
        self._homed = False
        self.motor.__doc__ = description
        for name, putter in self._putters().items():
            self.motor.get_field(name).putter = putter
        for name in ALARMED_FIELDS:
            self.motor.get_field(name).alarm = self.motor.alarm

    def _putters(self):
        return {
            "OFF": self._put_offset,
            "DIR": self._put_direction,
            "HLM": self._put_high_limit,
            "LLM": self._put_low_limit,
            "DHLM": self._put_dial_high_limit,
            "DLLM": self._put_dial_low_limit,
            "VELO": self._put_velocity,
            "PREC": self._put_precision,
            "EGU": self._put_units,
            "HOPR": self._put_display_high,
            "LOPR": self._put_display_low,
        }

    @motor.startup
    async def motor(self, instance, async_lib):
        """Give every field its value before a client sees it."""
        limit = self._axis.soft_limit_um
        await self._post(
            DESC=self.motor.__doc__, EGU="um", MRES=RESOLUTION_UM, VMAX=CONTROLLER_SPEED_UM_S, VELO=0.0, ACCL=0.1
        )
        await self._post(RTRY=0, RDBD=5 * RESOLUTION_UM, TWV=1.0, HLSV="MAJOR", UEIP="Yes", LVIO=0)
        await self._post(DHLM=limit, DLLM=-limit, HOPR=limit, LOPR=-limit, PREC=4)
        await self._put_precision(None, 4)
        await self._put_units(None, "um")
        await self._put_display_high(None, limit)
        await self._put_display_low(None, -limit)
        await self._post_user_limits()
        await self.refresh()

    # ------------------------------------------------------------------ fields and frames

    def _get(self, name: str) -> float:
        return float(self.motor.get_field(name).value)

    def _menu(self, name: str) -> int:
        field = self.motor.get_field(name)
        return menu_index(field, field.value)

    async def _post(self, **values: object) -> None:
        """Write fields past their putters; unchanged ones cause no monitor."""
        for name, value in values.items():
            field = self.motor.get_field(name)
            if field.value != value:
                await field.write(value, verify_value=False)

    @property
    def _sign(self) -> int:
        return -1 if self._menu("DIR") else 1

    def _dial_of(self, user: float) -> float:
        return (user - self._get("OFF")) * self._sign

    def _user_of(self, dial: float) -> float:
        return dial * self._sign + self._get("OFF")

    def _here_um(self) -> float:
        """Dial readback: the true position with the servo's noise, in whole steps."""
        true = self._axis.at(self._clock.time()) - self._dial_zero_um
        noise = float(np.random.default_rng([*self._key, self._moves]).normal())
        return _on_grid(true + self._noise_um * max(-3.0, min(3.0, noise)))

    async def _post_user_limits(self) -> None:
        """HLM and LLM from the dial limits; the control limits of VAL and RBV follow them."""
        ends = sorted((self._user_of(self._get("DLLM")), self._user_of(self._get("DHLM"))))
        if self._get("DLLM") > self._get("DHLM"):
            ends.reverse()
        low, high = (0.0, 0.0) if self._unlimited() else ends
        for name in ("VAL", "RBV"):
            await self.motor.get_field(name).write_metadata(lower_ctrl_limit=low, upper_ctrl_limit=high)
        await self._post(LLM=ends[0], HLM=ends[1])

    def _unlimited(self) -> bool:
        return self._get("DHLM") == self._get("DLLM") == 0.0

    def _violates(self, dial: float) -> bool:
        """Whether the soft limits forbid a move to `dial`; moves back towards the range are allowed."""
        if not math.isfinite(dial):
            return True
        low, high, last = self._get("DLLM"), self._get("DHLM"), self._get("DVAL")
        if self._unlimited():
            return False
        if low > high:
            return True
        return (dial > high and dial >= last) or (dial < low and dial <= last)

    # ------------------------------------------------------------------ what it shows

    async def _post_readback(self) -> None:
        dial = self._here_um()
        await self._post(DRBV=dial, RBV=_tidy(self._user_of(dial)), RRBV=round(dial / RESOLUTION_UM))
        await self._post(DIFF=_tidy(self._get("DVAL") - dial))

    async def _post_status(self) -> None:
        """Limit switches, MSTA and the record's alarm."""
        now = self._clock.time()
        plus, minus = self._limits()
        high, low = (plus, minus) if self._sign > 0 else (minus, plus)
        moving = bool(self._get("MOVN"))
        msta = MSTA_POSITION | MSTA_ENCODER | (MSTA_MOVING if moving else MSTA_DONE)
        msta |= MSTA_DIRECTION * (self._axis.target_um >= self._axis.at(now)) | MSTA_PROBLEM * self._axis.fault
        msta |= MSTA_PLUS_LIMIT * plus | MSTA_MINUS_LIMIT * minus | MSTA_HOMED * self._homed
        await self._post(HLS=int(high), LLS=int(low), MSTA=msta)
        status, severity = self._alarm(high, low)
        if (self.motor.alarm.status, self.motor.alarm.severity) != (status, severity):
            await self.motor.alarm.write(status=status, severity=severity)

    def _limits(self) -> tuple[bool, bool]:
        """The plus and the minus limit switch."""
        return self._axis.at_limits(self._clock.time())

    def _alarm(self, high: bool, low: bool) -> tuple[AlarmStatus, AlarmSeverity]:
        at_limit = AlarmSeverity(self._menu("HLSV"))
        if self._axis.fault:
            return AlarmStatus.STATE, AlarmSeverity.MAJOR_ALARM
        if at_limit and high:
            return AlarmStatus.HIGH, at_limit
        if at_limit and low:
            return AlarmStatus.LOW, at_limit
        return AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM

    async def refresh(self) -> None:
        """Show a change that did not come through the record (a servo fault and its end)."""
        await self._post_readback()
        await self._post_status()

    # ------------------------------------------------------------------ user frame and limits

    async def _put_offset(self, instance, value):
        """OFF: VAL, RBV and the user limits follow; nothing moves."""
        await self._post(OFF=float(value))
        await self._follow_frame()
        raise SkipWrite

    async def _put_direction(self, instance, value):
        """DIR: with FOFF Variable VAL stays and OFF follows, else VAL follows."""
        user = self.motor.value
        await instance.write(instance.enum_strings[menu_index(instance, value)], verify_value=False)
        if not self._menu("FOFF"):
            await self._post(OFF=user - self._get("DVAL") * self._sign)
        await self._follow_frame()
        raise SkipWrite

    async def _follow_frame(self) -> None:
        await self._post(VAL=self._user_of(self._get("DVAL")))
        await self._post_user_limits()
        await self._post_readback()
        await self._post_status()

    async def _put_high_limit(self, instance, value):
        await self._set_dial_limit("DHLM" if self._sign > 0 else "DLLM", self._dial_of(float(value)))

    async def _put_low_limit(self, instance, value):
        await self._set_dial_limit("DLLM" if self._sign > 0 else "DHLM", self._dial_of(float(value)))

    async def _put_dial_high_limit(self, instance, value):
        await self._set_dial_limit("DHLM", float(value))

    async def _put_dial_low_limit(self, instance, value):
        await self._set_dial_limit("DLLM", float(value))

    async def _set_dial_limit(self, name: str, dial: float) -> None:
        await self._post(**{name: dial})
        await self._post_user_limits()
        raise SkipWrite

    # ------------------------------------------------------------------ settings

    async def _put_velocity(self, instance, value):
        """VELO: 0 is legal and means the controller's own speed."""
        return min(max(0.0, float(value)), self._get("VMAX") or math.inf)

    async def _put_precision(self, instance, value):
        for field in (self.motor, *self.motor.fields.values()):
            await field.write_metadata(precision=int(value))
        return value

    async def _put_units(self, instance, value):
        for name in (*USER_FIELDS, *DIAL_FIELDS):
            await self.motor.get_field(name).write_metadata(units=str(value))
        return value

    async def _put_display_high(self, instance, value):
        for name in ("VAL", "RBV"):
            await self.motor.get_field(name).write_metadata(upper_disp_limit=float(value))
        return value

    async def _put_display_low(self, instance, value):
        for name in ("VAL", "RBV"):
            await self.motor.get_field(name).write_metadata(lower_disp_limit=float(value))
        return value


def menu_index(field, value) -> int:
    """Index of a menu field's value, which caproto keeps as text or as number.

    Raises
    ------
    ValueError
        If `value` is not on the menu; the client's put fails.
    """
    return int(value) if isinstance(value, int) else int(field.enum_strings.index(value))


def _on_grid(position_um: float) -> float:
    return _tidy(round(position_um / RESOLUTION_UM) * RESOLUTION_UM)


def _tidy(position_um: float) -> float:
    """Without the last binary digits, which only spoil what users see."""
    return round(position_um, 9)
