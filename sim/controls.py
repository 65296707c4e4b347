"""What only a simulation can offer: PVs that make things go wrong, and its clock."""

# caproto wants a putter to bear the name of its PV:
# mypy: disable-error-code="no-redef"

from caproto import ChannelType
from caproto.server import PVGroup, pvproperty

from sim.beamline import Beamline


class ControlsIOC(PVGroup):
    """Switches for tests of plans: a plan never needs them, and a real beamline has none.

    PVs
    ---
    SIM:BeamDump (bo: Stored, Dumped), SIM:StageFault (bo: Well, Fault), SIM:Upset (stringout: see `sim.upsets`),
    SIM:Exposing (longin: frame number, -1 at rest), SIM:Time (ai, simulated s), SIM:Speed (ai)
    """

    dump = pvproperty(name="SIM:BeamDump", value="Stored", dtype=bool, record="bo", enum_strings=["Stored", "Dumped"])
    stage_fault = pvproperty(
        name="SIM:StageFault", value="Well", dtype=bool, record="bo", enum_strings=["Well", "Fault"]
    )
    upset = pvproperty(name="SIM:Upset", value="", dtype=ChannelType.STRING, record="stringout")
    exposing = pvproperty(name="SIM:Exposing", value=-1, record="longin", read_only=True)
    time = pvproperty(name="SIM:Time", value=0.0, record="ai", precision=3, units="s", read_only=True)
    speed = pvproperty(name="SIM:Speed", value=1.0, record="ai", precision=3, read_only=True)

    def __init__(self, prefix: str, *, beamline: Beamline, refresh, ask) -> None:
        super().__init__(prefix)
        self._beamline = beamline
        self._refresh = refresh
        self._ask = ask

    @dump.putter
    async def dump(self, instance, value):
        """Lose the stored beam, or refill the ring."""
        if value in ("Dumped", 1):
            self._beamline.ring.dump()
        else:
            self._beamline.ring.refill()
        await self._refresh()
        return value

    @stage_fault.putter
    async def stage_fault(self, instance, value):
        """Lose the servo of all three axes, or have it back."""
        if value in ("Fault", 1):
            self._beamline.stage.fail()
        else:
            self._beamline.stage.recover()
        await self._refresh()
        return value

    @upset.putter
    async def upset(self, instance, value):
        """Have something befall the next exposures."""
        self._ask(str(value))
        return value

    @time.getter
    async def time(self, instance):
        """Simulated time now."""
        return self._beamline.clock.time()

    @speed.getter
    async def speed(self, instance):
        """Simulated seconds per wall second."""
        return self._beamline.clock.speed
