"""What a run says about itself in its start document."""

from collections.abc import Mapping
from typing import Any

from devices.stage import PiezoStage
from plans.trajectory import Raster, Trajectory


def scan_metadata(
    plan_name: str, trajectory: Trajectory, stage: PiezoStage, exposure_s: float, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata of a scan under bluesky's usual keys.

    Parameters
    ----------
    plan_name : str
    trajectory : Trajectory
        All points of the scan, also those that are left out of this run.
    stage : PiezoStage
    exposure_s : float
        Exposure of a point, s.
    arguments : mapping
        The plan's arguments, of plain types; `sample` also stands for itself unless it is None.

    Returns
    -------
    dict
        `shape`, `extents` and `snaking` are in the order of the axes, slow first; positions in um, times in s.
    """
    x, y = stage.x.name, stage.y.name
    metadata: dict[str, Any] = {
        "plan_name": plan_name,
        "plan_args": dict(arguments),
        "detectors": list(arguments["detectors"]),
        "motors": [y, x],
        "extents": [[trajectory.y_um[0], trajectory.y_um[-1]], [trajectory.x_um[0], trajectory.x_um[-1]]],
        "num_points": len(trajectory),
        "num_intervals": len(trajectory) - 1,
        "exposure_s": exposure_s,
        "position_unit": "um",
    }
    if isinstance(trajectory, Raster):
        metadata |= {
            "shape": list(trajectory.shape),
            "snaking": [False, True],
            "hints": {"gridding": "rectilinear", "dimensions": [[[y], "primary"], [[x], "primary"]]},
        }
    else:
        metadata |= {
            "extents": [[min(places), max(places)] for places in (trajectory.y_um, trajectory.x_um)],
            "hints": {"dimensions": [[[x, y], "primary"]]},
        }
    if arguments.get("step") is not None:
        metadata["step_um"] = arguments["step"]
    if arguments.get("sample") is not None:
        metadata["sample"] = arguments["sample"]
    return metadata
