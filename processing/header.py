"""What both wires' headers have in common: vendor values are taken where they make sense and named where not."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from processing.frame import MAX_FRAMES, MAX_PIXELS, MAX_SIDE

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]

_Model = TypeVar("_Model", bound=BaseModel)
_MAX_REMARKS = 10


def read_config(model: type[_Model], raw: Mapping[str, Any]) -> tuple[_Model, list[str]]:
    """Read a header's configuration; a value that makes no sense counts as not given, so that it costs only itself.

    Parameters
    ----------
    model : type of pydantic model
        All fields optional.
    raw : mapping
        The configuration as it came.

    Returns
    -------
    config : model
    remarks : list of str
        One sentence for each value that is not used.
    """
    known = {key: raw[key] for key in model.model_fields if key in raw}
    try:
        return model(**known), []
    except ValidationError as error:
        remarks = []
        for item in error.errors()[:_MAX_REMARKS]:
            name = ".".join(str(step) for step in item["loc"])
            remarks.append(f"{name} of the header: {item['msg']}, got {item.get('input')!r:.60}; it is not used")
        bad = {item["loc"][0] for item in error.errors()}
        return model(**{key: value for key, value in known.items() if key not in bad}), remarks


def believable_images(images: int | None, remarks: list[str]) -> int | None:
    """Return the announced number of frames, None where it is beyond all measure (a remark says so)."""
    if images is None or images <= MAX_FRAMES:
        return images
    remarks.append(f"announced frames must be at most {MAX_FRAMES}, got {images}; frames are taken as they come")
    return None


def believable_shape(rows: int | None, cols: int | None, remarks: list[str]) -> tuple[int, int] | None:
    """Return (rows, columns), None where not both are given or together too large (a remark says so)."""
    if rows is None or cols is None:
        return None
    if rows * cols <= MAX_PIXELS:
        return rows, cols
    remarks.append(f"detector must have at most {MAX_PIXELS} pixels, got {cols} x {rows}; the first frame will tell")
    return None


def what_is_wrong(error: ValidationError) -> str:
    """Return the first complaint of pydantic as half a sentence."""
    first = error.errors()[0]
    return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}, got {first.get('input')!r:.60}"
