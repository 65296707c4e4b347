"""What one can type in a session, on one screen of 80 x 24."""

import pydoc
from typing import Any

_TEXT = """\
XEDM session: positions in um, exposures in s         help(thing) explains it
Scan    RE(ensemble_scan([{detector}, live], stage, x0, x1, y0, y1, step, exposure))
{plans}
        Ctrl-C twice pauses (shutter closed, exposure void); then
        RE.resume(), RE.abort() or RE.stop()
Look    live.plot()             the sum so far, with rings of q, and the counts
        live.read()             every number of the live result
        %wa                     where all axes are     %ct: read the detectors
Move    %mov stage.x 10         or RE(bps.mv(stage.x, 10)); %movr: by so much
        shutter.set("close")    attenuator.set(0.01)   beam_stop.set("in")
Devices {devices}
Runs    cat                     the catalogue; cat[-1] is the newest run
        cat[-1]["primary"].read()      positions and readings, one row a point
        cat[-1]["screening"].read()    verdict, total, chi2 of every frame
Files   {output}
Notes   RE.md["operator"] = "..."      goes into every run, kept for next time
        RE.suspenders           wait for beam; RE.clear_suspenders() ends that
Also    bp, bps: bluesky's plans and their parts; summarize_plan(plan): dry run
Leave   exit                    closes the shutter, disarms the detector
"""
_WIDTH = 79


class Overview:
    """`help` of a session: by itself an overview, with an argument Python's own.

    Parameters
    ----------
    detector : str
        Name of the detector.
    plans, devices : sequence of str
        Their names.
    output : str
        Folder of the session's files.
    """

    def __init__(self, *, detector: str, plans: list[str], devices: list[str], output: str) -> None:
        others = [name for name in plans if name != "ensemble_scan"]
        self.text = _TEXT.format(
            detector=detector,
            plans="        " + _cut("also " + " ".join(others) if others else "num points = (x1 - x0) / step + 1, ..."),
            devices=_cut(" ".join(devices)),
            output=_cut(output),
        )

    def __call__(self, *things: Any) -> None:
        """Print the overview, or explain things."""
        if not things:
            print(self.text, end="")  # noqa: T201 - this is what it is for
        for thing in things:
            pydoc.help(thing)

    def __repr__(self) -> str:
        return self.text.rstrip()


def _cut(text: str) -> str:
    room = _WIDTH - 8
    return text if len(text) <= room else f"{text[: room - 4]} ..."
