"""What `live.plot()` draws: the result file where there is one, else the small preview of the PVs."""

from pathlib import Path
from typing import Any

import numpy as np

from devices.errors import LiveServiceError
from devices.live_result import LiveResult
from processing.frame import CATEGORY_NAMES


class LivePlotter:
    """Draws a live result.

    Parameters
    ----------
    folder : Path
        For the figure where there is no display.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, live: LiveResult) -> Any:
        """Draw it; returns the figure.

        Raises
        ------
        LiveServiceError
            Before the first frame.
        """
        from service.figures.live import picture_of, show

        series, state = int(live.series.get()), str(live.state.get())
        if series < 0:
            raise LiveServiceError("a series must have begun before there is a sum to draw, got none; run a scan first")
        frames = {name: int(getattr(live.frames, name).get()) for name in CATEGORY_NAMES}
        title = f"series {series}, {state}"
        picture = picture_of(Path(str(live.result.get())), title, frames) or self._preview(live, title, frames)
        return show(picture, self._folder)

    def _preview(self, live: LiveResult, title: str, frames: dict[str, int]) -> Any:
        from service.figures.live import LivePicture

        rows, columns = int(live.preview_height.get()), int(live.preview_width.get())
        if not rows * columns:
            raise LiveServiceError("a frame must have been accepted before there is a sum to draw, got none yet")
        gray = np.asarray(live.preview.get(use_monitor=False)).view(np.uint8)[: rows * columns]
        counts = np.where(gray > 0, gray, np.nan).reshape(rows, columns).astype(np.float32)
        return LivePicture(title=f"{title}\npreview", counts=counts, unit="logarithmic, 1 to 255", frames=frames)
