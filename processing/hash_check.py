"""The sender's hash: is it a digest of the pixels' bytes, and does it say that a frame was damaged.

Bitshuffle-LZ4 has no checksum of its own: of blobs with a few changed bytes one in five decodes without complaint to
wrong pixels. Stream v1 sends an MD5, but some senders send an empty or another text, so that the series itself has to
show what its hashes are.
"""

import hashlib
from typing import Literal

from processing.frame import EncodedFrame, Refusal

HashMode = Literal["auto", "always", "never"]

_SHARE = 0.05
_BURST_S = 0.5
_BYTES_PER_S = 600e6
_TRIAL_FRAMES = 3
_MAX_DOUBTS = 20


class HashCheck:
    """Checks the hashes of one series.

    A mismatch makes a frame corrupt only once the hash of an earlier frame matched its blob; an empty hash never
    does. In the mode "auto" the first three hashes are checked to learn what they are, and after that as many as
    5 % of one core pay for, with half a second of one core saved up for bursts: MD5 takes 12 ms for 8.6 MB, so up to
    30 MB/s every frame is checked, and at 133 such frames a second every 38th.

    Parameters
    ----------
    mode : {"auto", "always", "never"}
    proven : bool
        Whether a hash of the series is known to have matched its blob before.

    Attributes
    ----------
    proven : bool
        Whether one has.
    """

    def __init__(self, mode: HashMode = "auto", *, proven: bool = False) -> None:
        self._mode = mode
        self._checked = 0
        self.proven = proven
        self._credit_s = _BURST_S
        self._credited_at: float | None = None
        self._doubts: list[int] = []

    def refuse(self, frame: EncodedFrame, now_s: float) -> Refusal | None:
        """Return why a frame is corrupt by its hash, None when it is not or nobody looked.

        Parameters
        ----------
        frame : EncodedFrame
        now_s : float
            Any clock that only goes forward.
        """
        if not frame.md5 or self._mode == "never" or not self._due(len(frame.blob), now_s):
            return None
        self._checked += 1
        digest = hashlib.md5(frame.blob, usedforsecurity=False).hexdigest()
        if digest == frame.md5.lower():
            self.proven = True
            return None
        if not self.proven:
            self._doubts = [*self._doubts, frame.frame][:_MAX_DOUBTS]
            return None
        return Refusal(
            reason=f"hash of the data blob must be the sender's {frame.md5:.40}, got {digest}; it changed on its way",
            series=frame.series,
            frame=frame.frame,
            image=True,
        )

    def doubts(self) -> list[int]:
        """Return, once, the frames that did not match before the hashes proved to be digests."""
        if not self.proven:
            return []
        doubts, self._doubts = self._doubts, []
        return doubts

    def _due(self, blob_bytes: int, now_s: float) -> bool:
        if self._mode == "always":
            return True
        elapsed = 0.0 if self._credited_at is None else max(0.0, now_s - self._credited_at)
        self._credited_at = now_s
        self._credit_s = min(_BURST_S, self._credit_s + _SHARE * elapsed)
        cost = blob_bytes / _BYTES_PER_S
        if self._checked >= _TRIAL_FRAMES and cost > self._credit_s:
            return False
        self._credit_s -= cost
        return True
