"""The static mask: which pixels of a detector may ever count."""

import numpy as np
from numpy.typing import NDArray

from processing.frame import SeriesHeader

# (module columns, module rows, gap columns, gap rows): EIGER (R, X) and EIGER2
_MODULES = ((1030, 514, 10, 37), (1028, 512, 12, 38))


def gap_mask(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return True outside the gaps between the modules of an EIGER or EIGER2 of this size.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns).

    Returns
    -------
    ndarray of bool, shape `shape`
        All True for a size that no detector of the family has.
    """
    rows, cols = shape
    valid = np.ones(shape, dtype=bool)
    for module_cols, module_rows, gap_cols, gap_rows in _MODULES:
        if (cols + gap_cols) % (module_cols + gap_cols) or (rows + gap_rows) % (module_rows + gap_rows):
            continue
        valid[np.arange(rows) % (module_rows + gap_rows) >= module_rows, :] = False
        valid[:, np.arange(cols) % (module_cols + gap_cols) >= module_cols] = False
    return valid


def static_mask(header: SeriesHeader, shape: tuple[int, int], user: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Combine the header's pixel mask, the module gaps and the user's mask.

    Parameters
    ----------
    header : SeriesHeader
    shape : tuple of int
        (rows, columns) of the frames.
    user : ndarray of bool, shape `shape`, or None
        True where a pixel may count.

    Returns
    -------
    ndarray of uint8, shape `shape`
        1 where a pixel counts.

    Raises
    ------
    ValueError
        When the user's mask has another shape than the frames.
    """
    valid = gap_mask(shape)
    if header.valid is not None and header.valid.shape == shape:
        valid &= header.valid
    if user is not None:
        if user.shape != shape:
            raise ValueError(
                f"mask file must have {shape[0]} x {shape[1]} pixels (rows x columns) like the detector, "
                f"got {' x '.join(map(str, user.shape))}; make one for this detector or remove detector.mask_file"
            )
        valid &= user
    return valid.astype(np.uint8)
