"""One reader in front of both wires: whichever the sender speaks, typed messages come out."""

from collections.abc import Sequence

from processing import stream_v1, stream_v2
from processing.cbor import looks_like_cbor
from processing.frame import EncodedFrame, Message, Refusal, SeriesHeader
from processing.header_v1 import HeaderParts, Part

_SERIES_REMEMBERED = 16


class WireReader:
    """Reads ZeroMQ messages in the order in which they came.

    It remembers two things: the header of stream v1 that is still open, because some senders send its parts one by
    one, and the energy channels of the latest series on Stream2.

    Parameters
    ----------
    channel : str or None
        The energy channel to take on Stream2; None: the detector's first.
    """

    def __init__(self, *, channel: str | None = None) -> None:
        self._channel = channel
        self._channels: dict[int, tuple[str, ...]] = {}
        self._open: HeaderParts | None = None

    def read(self, parts: Sequence[Part]) -> list[Message]:
        """Return the typed messages in one multipart message; mostly one.

        None comes of a part that only announces the next one. What cannot be read becomes a `Refusal`.

        Parameters
        ----------
        parts : sequence of bytes
            The parts of one ZeroMQ message; they must not change as long as the frames are in use.
        """
        if self._open is not None and parts and self._open.claims(parts[0]):
            return self._complete(self._open, parts)
        if parts and len(parts[0]) and looks_like_cbor(parts[0][0]):
            return [self._read_v2(part) for part in parts]
        return [self._read_v1(message) for message in stream_v1.split(parts)]

    def _complete(self, header: HeaderParts, parts: Sequence[Part]) -> list[Message]:
        before = header.known
        for part in parts:
            header.add(part)
        return [header.header(completes=True)] if header.known != before else []

    def _read_v1(self, parts: Sequence[Part]) -> Message:
        message = stream_v1.read_parts(parts)
        if isinstance(message, HeaderParts):
            self._open = message
            return message.header()
        if not isinstance(message, Refusal):  # an image or an end: no part of the header can follow
            self._open = None
        return message

    def _read_v2(self, part: Part) -> Message:
        message = stream_v2.read_message(part, channel=self._channel, channels=self._channels)
        match message:
            case SeriesHeader():
                self._open = None
                self._remember(message.series, message.channels)
            case EncodedFrame(series=int() as series) if not self._channels.get(series):
                # no start message has named the channels: the first image decides, so that two are never mixed
                self._remember(series, (message.channel,))
        return message

    def _remember(self, series: int, channels: tuple[str, ...]) -> None:
        self._channels.pop(series, None)
        self._channels[series] = channels
        if len(self._channels) > _SERIES_REMEMBERED:
            del self._channels[next(iter(self._channels))]
