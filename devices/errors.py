"""What can go wrong with a device; the text says what was waited for, for how long, and what to do."""


class DeviceError(RuntimeError):
    """Any failure of a device that is not the person's mistake."""


class NotConnectedError(DeviceError, TimeoutError):
    """PVs that did not answer."""


class StageError(DeviceError):
    """The stage refused a move, did not finish it, or is not where it was sent."""


class ShutterError(DeviceError):
    """The shutter did not reach the state asked for, or reports a fault."""


class AttenuatorError(DeviceError):
    """The attenuator did not finish its move."""


class InterlockError(DeviceError):
    """A move that would let the full direct beam reach the detector."""


class BeamStopError(DeviceError):
    """The beam stop did not reach the state asked for, or reports a fault."""


class BeamError(DeviceError, TimeoutError):
    """No beam, or no window between injections, in the time given."""


class DetectorError(DeviceError):
    """The detector refused a setting, did not arm, or disarmed during an exposure."""


class FrameTimeoutError(DetectorError, TimeoutError):
    """A frame that did not reach the live service in time."""


class LiveServiceError(DeviceError):
    """The live service did not take what the scan told it."""


class NoteRefusedError(LiveServiceError):
    """What the scan told the live service is nothing that it can take."""


class PointError(DeviceError):
    """A scan point that got no valid exposure."""
