"""Devices without PVs on a clock that is only counted, over the sample of the simulation: for plans that run by the
hour.

Everything a plan touches is here, the verdicts come from `sim.scene`, and an exposure that overlaps an injection is
void.
"""

import math
from dataclasses import dataclass, field

from ophyd import Component, Device
from ophyd.sim import SynAxis, make_fake_device
from ophyd.status import DeviceStatus
from ophyd.utils import LimitError

from devices.eiger import Eiger
from devices.exposure import Void
from devices.live_result import LiveResult
from devices.storage_ring import window_is_open
from sim.scene import Scene

SETTLE_FRAMES = 5
TOTALS = {"accepted": 1_000_000, "low_intensity": 100_000, "streak": 1_300_000, "background": 450_000}
"""Photons on a frame of 10 s by what the beam hit."""


def finished(device):
    status = DeviceStatus(device)
    status.set_finished()
    return status


@dataclass
class Machine:
    """A ring that injects, and the time; s."""

    period_s: float = 240.0
    injection_s: float = 4.0
    first_s: float = 240.0
    now: float = 0.0
    move_s: float = 0.2
    overhead_s: float = 0.3
    exposures: list = field(default_factory=list)

    def countdown(self) -> float:
        return (
            self.first_s - self.now
            if self.now < self.first_s
            else self.period_s - (self.now - self.first_s) % self.period_s
        )

    def disturbed(self, start: float, stop: float) -> bool:
        k = max(0, math.floor((start - self.first_s) / self.period_s))
        begins = [self.first_s + (k + i) * self.period_s for i in (0, 1)]
        return any(begin < stop and begin + self.injection_s > start for begin in begins)


class Gate(Device):
    """Opens as the real one does, by `window_is_open`, and lets the time pass until then."""

    machine: Machine

    def check_value(self, value):
        longest = self.parent.period_s - self.parent.injection_s
        if not 0.0 < value < longest:
            raise ValueError(f"exposure and margin must be above 0 and below {longest:g} s, got {value:g} s")

    def set(self, value):
        self.check_value(value)
        ring = self.parent
        while not window_is_open(ring.machine.countdown(), value, ring.period_s, ring.injection_s):
            countdown = ring.machine.countdown()
            just_injected = countdown - (ring.period_s - ring.injection_s)
            ring.machine.now += (just_injected if just_injected > 0.0 else countdown) + 1e-6
        return finished(self)


class Ring(Device):
    gate = Component(Gate, "", kind="omitted")
    period_s, injection_s = 240.0, 5.0

    def __init__(self, machine, **kwargs):
        self.machine = machine
        super().__init__("", name="ring", **kwargs)


class Axis(SynAxis):
    """Reaches every place at once; the machine's clock counts the move."""

    limits_um = 2000.0

    def check_units(self):
        pass

    def check_value(self, value):
        if abs(value) > self.limits_um:
            raise LimitError(f"{self.name} must be sent between its soft limits, got {value:g} um")


class Departure(Device):
    def set(self, place):
        for axis, position in zip((self.parent.x, self.parent.y), place, strict=True):
            axis.set(position)
        return finished(self)


class Stage(Device):
    departure = Component(Departure, "", kind="omitted")
    x = Component(Axis, labels=())
    y = Component(Axis, labels=())

    def trigger(self):
        return finished(self)


class Shutter(Device):
    def set(self, value):
        del value
        return finished(self)


class Detector(make_fake_device(Eiger)):
    """Takes the time of an exposure, asks the scene what it hit, and shows what the live service would."""

    def begin(self, scene, machine):
        self.scene, self.machine = scene, machine
        self.labels, self.spoil = {}, set()
        self.made = 0
        return self

    def stage(self):
        self._taken, self.frames_of_series = [], 0
        self.live.frames.accepted.sim_put(0)
        return [self]

    def unstage(self):
        return [self]

    def trigger(self):
        note, machine = self.point.get(), self.machine
        machine.now += machine.move_s
        start = machine.now
        machine.now += self.plan.exposure_s
        spoilt = machine.disturbed(start, machine.now) or self.made in self.spoil
        machine.exposures.append((start, machine.now, spoilt))
        machine.now += machine.overhead_s
        self._overheads.append(machine.overhead_s)
        self.frame.put(self.frames_of_series)
        self.point_index.put(note["point"])
        self.valid.put(0 if spoilt else 1)
        if spoilt:
            void = Void(series=1, frame=self.frames_of_series, point=note["point"], reason="injection")
            self.voids.append(void)
            self.voided.waiting.append(void)
        self._show("gated" if spoilt else self.scene.at(note["x_um"], note["y_um"]).label)
        self.frames_of_series += 1
        self.made += 1
        return finished(self)

    def make_ready(self, note, needed_s):
        del note, needed_s
        return finished(self)

    def _show(self, label):
        live = self.live
        self._taken.append(label)
        settled = len(self._taken) >= SETTLE_FRAMES
        live.frames.accepted.sim_put(self._taken.count("accepted") if settled else 0)
        live.last.total.sim_put(TOTALS.get(label, 0) * self.plan.exposure_s / 10.0)
        live.last.verdict.sim_put(label if settled or label == "gated" else "pending")
        live.last.frame.sim_put(len(self._taken) - 1)


@dataclass
class Beamline:
    machine: Machine
    ring: Ring
    stage: Stage
    live: LiveResult
    detector: Detector

    @property
    def detectors(self):
        return [self.detector, self.live]


def beamline(scene: Scene, machine: Machine | None = None) -> Beamline:
    """Make a beamline over a scene."""
    machine = machine or Machine()
    ring = Ring(machine)
    live = make_fake_device(LiveResult)("XEDM:", name="live")
    live.resolution.sim_put(math.nan)
    detector = Detector("25A:EIG1M:cam1:", name="eig1m", shutter=Shutter(name="shutter"), ring=ring, live=live)
    stage = Stage(name="stage")
    return Beamline(machine, ring, stage, live, detector.begin(scene, machine))
