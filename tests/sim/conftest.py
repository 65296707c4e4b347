"""What the tests of the simulation share."""

import asyncio

import pytest

from sim.axis import Axis
from sim.clock import SimClock
from sim.motor_record import MotorRecord


class Bench:
    """A motor record without a server, with everything it posts, in order."""

    def __init__(self, speed=100.0):
        self.clock = SimClock(speed)
        self.axis = Axis(self.clock)
        self.record = MotorRecord("M", axis=self.axis, clock=self.clock, description="Bench", key=(7, 0))
        self.posted = []

    async def start(self):
        await self.record.motor.startup(self.record.motor, None)
        post = self.record._post

        async def recorded(**values):
            for name, value in values.items():
                if self.get(name) != value:
                    self.posted.append((name, value))
            await post(**values)

        self.record._post = recorded

    def get(self, name):
        return self.record.motor.get_field(name).value

    async def put(self, name, value):
        await asyncio.wait_for(self.record.motor.get_field(name).write(value), 5.0)

    def begin(self, name, value):
        return asyncio.create_task(self.put(name, value))

    def of(self, name):
        return [value for posted, value in self.posted if posted == name]

    async def until(self, name, value):
        async with asyncio.timeout(5.0):
            while self.get(name) != value:  # noqa: ASYNC110 - looks from outside, as a client does
                await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def motor_bench() -> type[Bench]:
    """Give the class of the bench; a test makes its own in its event loop."""
    return Bench
