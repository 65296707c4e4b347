"""One EPICS motor record on a simulated axis, with the semantics of the real record (motor R7-4)."""

import asyncio

from caproto import SkipWrite

from sim.motor_frame import RESOLUTION_UM, MotorFrame, menu_index

POLL_S = 0.02
"""The driver's moving poll, simulated s."""
POLL_WALL_S = 0.01
"""No more than 100 readbacks per wall second, whatever the speed."""

STOP, PAUSE, MOVE = 0, 1, 2
ARITHMETIC, GEOMETRIC, IN_POSITION = 1, 2, 3
"""States of RMOD; the one before them goes the whole remaining way."""
MIP_MOVE, MIP_RETRY = 0x20, 0x40


class MotorRecord(MotorFrame):
    """A motor record; what a field does is said at its putter.

    PVs
    ---
    VAL, RBV, DVAL, DRBV, RVAL, RRBV, OFF, DIR, FOFF, SET, HLM, LLM, DHLM, DLLM, LVIO, HLS, LLS, HLSV, DMOV, MOVN, MIP,
    MSTA, TDIR, STOP, SPMG, SYNC, VELO, VMAX, ACCL, HOMF, HOMR, ATHM, RLV, TWF, TWR, TWV, RDBD, RTRY, RMOD, RCNT, MISS,
    DIFF, DLY, EGU, PREC, DESC (motor)

    Jogging and backlash are not simulated: a flexure stage under servo has no use for them.
    """

    def __init__(self, prefix: str, **settings) -> None:
        self._mode = 3
        self._held = False
        self._to_readback = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._follower: asyncio.Task[None] | None = None
        super().__init__(prefix, **settings)

    def _putters(self):
        return super()._putters() | {
            "VAL": self._put_user,
            "DVAL": self._put_dial,
            "RVAL": self._put_raw,
            "RLV": self._put_relative,
            "TWF": self._tweak_forward,
            "TWR": self._tweak_reverse,
            "HOMF": self._home,
            "HOMR": self._home,
            "STOP": self._put_stop,
            "SPMG": self._put_spmg,
            "SYNC": self._put_sync,
        }

    # ------------------------------------------------------------------ where to go

    async def _put_user(self, instance, value):
        """VAL: move, or in SET mode redefine the position. The put completes when the motion has."""
        if self._menu("SET"):
            await self._redefine(float(value))
        else:
            await self._command(self._dial_of(float(value)))
        raise SkipWrite

    async def _put_dial(self, instance, value):
        await self._put_user(instance, self._user_of(float(value)))

    async def _put_raw(self, instance, value):
        await self._put_dial(instance, float(value) * RESOLUTION_UM)

    async def _put_relative(self, instance, value):
        await self._put_user(instance, self.motor.value + float(value))

    async def _tweak_forward(self, instance, value):
        if value:
            await self._put_user(instance, self.motor.value + self._get("TWV"))

    async def _tweak_reverse(self, instance, value):
        if value:
            await self._put_user(instance, self.motor.value - self._get("TWV"))

    async def _home(self, instance, value):
        """HOMF, HOMR: go to the reference mark at dial zero; soft limits do not apply."""
        if value:
            await self._post(ATHM=0)
            await self._command(0.0, soft_limits=False)
            if self._axis.target_um == self._dial_zero_um:
                self._homed = True
                await self._post(ATHM=1)
                await self._post_status()
        return 0

    async def _command(self, dial: float, *, soft_limits: bool = True) -> None:
        if soft_limits and self._violates(dial):
            # The client that put the value must see it revert, hence the unconditional write.
            await self.motor.write(self.motor.value, verify_value=False)
            await self._post(LVIO=1)
            return
        await self._post(LVIO=0, DVAL=dial, VAL=self._user_of(dial), RVAL=round(dial / RESOLUTION_UM), RCNT=0)
        self._idle.clear()
        if self._mode in (STOP, PAUSE):
            self._held = True
            await self._post(DMOV=0)
        else:
            await self._start()
        await self._idle.wait()

    async def _start(self) -> None:
        """Send the axis to DVAL and let DMOV fall; a move under way is redirected."""
        self._held = False
        self._to_readback = False
        await self._post(MISS=0)
        await self._drive(self._get("DVAL"), MIP_MOVE)
        if self._follower is None or self._follower.done():
            self._follower = asyncio.create_task(self._follow())

    async def _drive(self, dial: float, mip: int) -> None:
        """Send the axis to a dial position."""
        self._moves += 1
        target = dial + self._dial_zero_um
        forward = target >= self._axis.at(self._clock.time())
        self._axis.move(target, self._get("VELO"))
        await self._post(TDIR=int(forward == (self._sign > 0)), HLS=0, LLS=0, MIP=mip, DMOV=0, MOVN=1)
        await self._post_status()

    async def _follow(self) -> None:
        """Post readbacks until the axis rests where it shall or may not try again, then DMOV."""
        period = max(POLL_S, POLL_WALL_S * self._clock.speed)
        while True:
            while (left := self._axis.rest_from - self._clock.time()) > 0.0:
                await self._clock.sleep(min(period, left))
                await self._post_readback()
            move = self._moves
            await self._clock.sleep(self._get("DLY"))
            if move == self._moves and not await self._retry():
                break
        await self._finish()

    async def _retry(self) -> bool:
        """Try again when the axis came to rest too far from its target; False when it did not, or may not."""
        await self._post_readback()
        await self._post(MOVN=0)
        allowed = int(self._get("RTRY"))
        if self._to_readback or self._held or not allowed or not self._missed() or any(self._limits()):
            return False
        tries = int(self._get("RCNT")) + 1
        await self._post(RCNT=tries)
        if tries > allowed:
            return False
        mode = self._menu("RMOD")
        if mode == IN_POSITION:  # commands nothing: waits another DLY for the servo
            await self._post(MIP=MIP_RETRY)
            await self._clock.sleep(max(POLL_S, self._get("DLY")))
            return True
        part = {ARITHMETIC: (allowed - tries + 1) / allowed, GEOMETRIC: 0.5 ** (tries - 1)}.get(mode, 1.0)
        await self._drive(self._get("DRBV") + part * self._get("DIFF"), MIP_RETRY)
        return True

    def _missed(self) -> bool:
        return abs(self._get("DIFF")) > self._get("RDBD")

    async def _finish(self) -> None:
        """Everything a client may look at when DMOV rises is posted before it."""
        if self._to_readback:
            self._moves += 1
        await self._post_readback()
        if self._to_readback:
            self._to_readback = False
            await self._synchronise()
        await self._post(MOVN=0)
        if self._held:
            await self._post_status()
            return
        # Without retries there are none to use up.
        await self._post(MIP=0, MISS=int(self._get("RTRY") > 0 and self._missed()))
        await self._post_status()
        if self._mode == MOVE and not self._missed():  # sits still until the person says Move again
            self._mode = PAUSE
            await self._post(SPMG="Pause", LSPG="Pause")
        await self._post(DMOV=1)
        self._idle.set()

    async def _synchronise(self) -> None:
        """VAL := RBV."""
        dial = self._get("DRBV")
        await self._post(DVAL=dial, VAL=self._user_of(dial), RVAL=round(dial / RESOLUTION_UM))
        await self._post_readback()

    async def _redefine(self, user: float) -> None:
        """Call the present position `user`: by the offset, or by the dial's zero when the offset is frozen."""
        await self._post(DMOV=0)
        if self._menu("FOFF"):
            dial = self._dial_of(user)
            self._dial_zero_um += self._get("DVAL") - dial
            await self._post(DVAL=dial, RVAL=round(dial / RESOLUTION_UM))
        else:
            await self._post(OFF=user - self._get("DVAL") * self._sign)
            await self._post_user_limits()
        await self._post(VAL=user)
        await self._post_readback()
        await self._post(DMOV=1)

    # ------------------------------------------------------------------ stopping

    async def _put_stop(self, instance, value):
        """STOP: halt; once at rest VAL := RBV. Resets itself."""
        if value:
            await self._halt(to_readback=True)
        return 0

    async def _put_spmg(self, instance, value):
        """SPMG: Stop halts and forgets the target, Pause halts and keeps it, Move and Go go on."""
        self._mode = menu_index(instance, value)
        if self._mode in (STOP, PAUSE):
            await self._halt(to_readback=self._mode == STOP)
        elif self._held:
            await self._start()
        await self._post(LSPG=value)
        return value

    async def _halt(self, *, to_readback: bool) -> None:
        if self._idle.is_set():
            return
        self._axis.halt()
        self._to_readback = to_readback
        self._held = not to_readback
        if self._follower is None or self._follower.done():
            await self._finish()

    async def _put_sync(self, instance, value):
        """SYNC: VAL := RBV, without motion."""
        if value and self._idle.is_set():
            await self._synchronise()
        return 0
