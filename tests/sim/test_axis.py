import pytest

from sim.axis import CONTROLLER_SPEED_UM_S, SETTLE_S, TRAVEL_UM, Axis
from sim.clock import SimClock


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def axis(now):
    return Axis(SimClock(1.0, lambda: now[0]))


def test_ten_micrometres_take_fifty_milliseconds_at_the_controllers_speed(axis):
    assert axis.move(10.0) == pytest.approx(0.05)


def test_moves_evenly_and_rests_exactly_at_the_target(axis):
    rest = axis.move(0.1 + 0.2, speed_um_s=0.1)
    assert rest == pytest.approx(3.0 + SETTLE_S)
    assert axis.at(1.5) == pytest.approx(0.15)
    assert axis.at(rest) == 0.1 + 0.2
    assert axis.at(1e9) == 0.1 + 0.2


def test_a_record_cannot_ask_for_more_than_the_controller_can(axis):
    assert axis.move(CONTROLLER_SPEED_UM_S, speed_um_s=1e9) == pytest.approx(1.0 + SETTLE_S)


def test_moved_tells_exposures_apart(axis, now):
    now[0] = 10.0
    axis.move(1.0, speed_um_s=1.0)
    rest = axis.rest_from
    assert axis.moved(9.0, 10.5)
    assert axis.moved(10.2, 10.3)
    assert axis.moved(rest - 0.001, 20.0)
    assert not axis.moved(5.0, 10.0)
    assert not axis.moved(rest, 20.0)


def test_halt_stays_where_it_is(axis, now):
    axis.move(10.0, speed_um_s=1.0)
    now[0] = 4.0
    assert axis.halt() == pytest.approx(4.0)
    assert axis.at(100.0) == pytest.approx(4.0)
    assert not axis.moved(4.0, 100.0)


def test_redirected_from_where_it_is(axis, now):
    axis.move(10.0, speed_um_s=1.0)
    now[0] = 4.0
    axis.move(3.0, speed_um_s=1.0)
    assert axis.at(4.5) == pytest.approx(3.5)
    assert axis.at(3.0) == pytest.approx(3.0)
    assert axis.at(20.0) == 3.0


def test_hard_stops_end_the_travel(axis):
    rest = axis.move(1e6)
    assert axis.at(rest) == TRAVEL_UM
    assert axis.at_limits(rest) == (True, False)


def test_without_servo_it_stays(axis, now):
    axis.move(5.0)
    now[0] = 1.0
    axis.fail()
    axis.move(8.0)
    now[0] = 2.0
    assert axis.at(2.0) == 5.0
    axis.recover()
    axis.move(8.0)
    assert axis.at(5.0) == 8.0
