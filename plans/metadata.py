"""What a run says about itself in its start document."""

from typing import Any

from devices.stage import PiezoStage
from plans.trajectory import Raster


def scan_metadata(
    raster: Raster, stage: PiezoStage, exposure_s: float, sample: str | None, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return the metadata of a raster scan under bluesky's usual keys.

    Parameters
    ----------
    raster : Raster
    stage : PiezoStage
    exposure_s : float
        Exposure of a point, s.
    sample : str or None
        Name of the sample, left out when None.
    arguments : dict
        The plan's arguments, of plain types.

    Returns
    -------
    dict
        `shape`, `extents` and `snaking` are in the order of the axes, slow first; positions in um, times in s.
    """
    rows, columns = raster.shape
    x, y = stage.x.name, stage.y.name
    metadata: dict[str, Any] = {
        "plan_name": "ensemble_scan",
        "plan_args": arguments,
        "detectors": arguments["detectors"],
        "motors": [y, x],
        "shape": [rows, columns],
        "extents": [[raster.y_um[0], raster.y_um[-1]], [raster.x_um[0], raster.x_um[-1]]],
        "snaking": [False, True],
        "num_points": len(raster),
        "num_intervals": len(raster) - 1,
        "exposure_s": exposure_s,
        "step_um": arguments["step"],
        "position_unit": "um",
        "hints": {"gridding": "rectilinear", "dimensions": [[[y], "primary"], [[x], "primary"]]},
    }
    return metadata if sample is None else metadata | {"sample": sample}
