"""A bounded queue between the socket and the summing that can be counted at any moment."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from processing.frame import EncodedFrame, Message, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message and how many image messages the socket had seen with it."""

    message: Message
    image_number: int


def is_image(message: Message) -> bool:
    """Whether a message is an image message and so belongs into the books."""
    return isinstance(message, EncodedFrame) or (isinstance(message, Refusal) and message.image)


class Mailbox:
    """First in, first out; `put` waits while it is full, so that the detector's buffer takes the back-pressure.

    Parameters
    ----------
    capacity : int
        Messages it holds.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._letters: deque[Letter] = deque()
        self._changed = threading.Condition()
        self._in_hand = 0
        self.images_received = 0

    def put(self, message: Message, give_up: Callable[[], bool]) -> bool:
        """Count the message as received and queue it; False when `give_up` said so while it was full."""
        with self._changed:
            while len(self._letters) >= self._capacity:
                self._changed.wait(0.2)
                if give_up():
                    return False
            self.images_received += is_image(message)
            self._letters.append(Letter(message=message, image_number=self.images_received))
            self._changed.notify_all()
        return True

    def take(self, timeout_s: float) -> Letter | None:
        """Return the oldest letter, None when there was none in time. An image counts as waiting until `done`."""
        with self._changed:
            if not self._letters:
                self._changed.wait(timeout_s)
            if not self._letters:
                return None
            letter = self._letters.popleft()
            self._in_hand += is_image(letter.message)
            self._changed.notify_all()
            return letter

    def done(self) -> None:
        """Say that one of the images taken has been booked."""
        with self._changed:
            self._in_hand -= 1

    def count(self) -> tuple[int, int]:
        """Return how many image messages were received so far, and how many of them are not booked yet."""
        with self._changed:
            waiting = sum(is_image(letter.message) for letter in self._letters)
            return self.images_received, waiting + self._in_hand
