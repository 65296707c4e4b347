"""That a frame is void reaches the service, at the latest with the next point."""

from types import SimpleNamespace

import pytest

from devices.errors import LiveServiceError, NoteRefusedError
from devices.exposure import Exposure
from devices.scan_notes import ScanNotes

SERIES = SimpleNamespace(number=7)


class Service:
    """Takes notes, unless the test has it fail."""

    def __init__(self):
        self.taken, self.problem = [], None

    def book(self, *, series, frame, point, x_um, y_um, void, timeout_s, patient=False, cancelled=lambda: False):
        assert (series, x_um, y_um) == (7, 0.0, 0.0)
        assert timeout_s > 0.0
        if self.problem is not None:
            raise self.problem
        if cancelled():
            return
        self.taken.append((frame, point, void, patient))


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def notes(service):
    return ScanNotes(service)


def exposure(point):
    return Exposure(point=point, x_um=0.0, y_um=0.0)


def test_a_void_that_the_service_does_not_take_is_told_before_the_next_point(service, notes):
    service.problem = LiveServiceError("got no completion")
    with pytest.raises(LiveServiceError, match="no completion"):
        notes.book(SERIES, exposure(3), 2, void=True)
    service.problem = None
    notes.book(SERIES, exposure(3), 3, patient=True)
    assert service.taken == [(2, 3, True, True), (3, 3, False, True)]
    notes.tell_owed(1.0)
    assert len(service.taken) == 2


def test_nothing_is_told_of_the_next_point_while_a_void_is_owed(service, notes):
    service.problem = LiveServiceError("got no completion")
    for void in (True, False):
        with pytest.raises(LiveServiceError):
            notes.book(SERIES, exposure(3), 2, void=void)
    service.problem = None
    notes.tell_owed(1.0)
    assert service.taken == [(2, 3, True, False)]


def test_a_void_that_the_service_refuses_is_owed_no_more(service, notes):
    service.problem = NoteRefusedError("got: frame must be at most 2147483647")
    with pytest.raises(NoteRefusedError):
        notes.book(SERIES, exposure(3), 2**40, void=True)
    service.problem = None
    notes.book(SERIES, exposure(3), 3)
    assert service.taken == [(3, 3, False, False)]


def test_without_a_service_nothing_is_told_nor_owed(service):
    notes = ScanNotes(service, told=False)
    notes.book(SERIES, exposure(3), 2, void=True)
    notes.tell_owed(1.0)
    assert service.taken == []


def test_what_nobody_gave_a_point_is_told_when_it_is_void(service, notes):
    notes.book(SERIES, exposure(-1), 0)
    notes.book(SERIES, exposure(-1), 0, void=True)
    assert service.taken == [(0, -1, True, False)]


def test_what_is_owed_outlives_its_series(service, notes):
    service.problem = LiveServiceError("got no completion")
    with pytest.raises(LiveServiceError):
        notes.book(SERIES, exposure(3), 2, void=True)
    service.problem = None
    ScanNotes(service, owed=notes.owed).tell_owed(1.0)
    assert service.taken == [(2, 3, True, False)]


def test_an_exposure_that_is_given_up_is_booked_no_more(service, notes):
    one = exposure(3)
    one.cancelled.set()
    notes.book(SERIES, one, 2, patient=True)
    assert service.taken == []
    notes.book(SERIES, one, 2, void=True)
    assert service.taken == [(2, 3, True, False)]


def test_of_several_notes_a_refused_one_does_not_hold_up_the_others(service):
    notes = ScanNotes(service)

    def book(*, frame, **more):
        if frame == 0:
            raise NoteRefusedError("got: no")
        Service.book(service, frame=frame, **more)

    notes.owed += [{"series": 7, "frame": n, "point": n, "x_um": 0.0, "y_um": 0.0, "void": True} for n in (0, 1)]
    service.book = book
    with pytest.raises(NoteRefusedError):
        notes.tell_owed(1.0)
    assert service.taken == [(1, 1, True, False)]
    assert notes.owed == []
