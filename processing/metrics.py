"""How good an image is: scores against a known model, the paper's error metric, profiles (science.md 5)."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray

from processing.align import aligned, centred_on_mass
from processing.models import SampleModel

_CROP_PER_OBJECT = 0.75  # crop is 2 ceil(0.75 D / px) + 1 pixels wide
_OVERSAMPLE = 16  # points a side in a pixel of the truth image


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """An image compared with the model it should show.

    Attributes
    ----------
    ssim : float
        Structural similarity index on the crop (Wang et al., 2004); 1 for the same image.
    error : float
        Model error sum |a - t| / sum |t| on the crop.
    scale : float
        Least-squares factor, without offset, that was put on the image.
    crop_px : int
        Width of the crop in image pixels.
    """

    ssim: float
    error: float
    scale: float
    crop_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AmplitudeError:
    """Equation (2) of the paper, as fractions.

    Attributes
    ----------
    free : float
        With the least-squares scale on the model.
    absolute : float
        With the scale given.
    scale : float
        The least-squares scale, in measured amplitude per electron.
    """

    free: float
    absolute: float
    scale: float


def amplitude_error(
    measured: ArrayLike, model: ArrayLike, valid: ArrayLike, *, absolute_scale: float = 1.0
) -> AmplitudeError:
    """Equation (2): sum |F - G| / sum |F| over the valid pixels beyond the removed centre.

    Parameters
    ----------
    measured, model : array_like
        Fourier amplitudes F of the experiment and G of the model, same shape.
    valid : array_like of bool
        The region D.
    absolute_scale : float
        Amplitude a model electron should give (from eq. 1), for the absolute error.

    Returns
    -------
    AmplitudeError
        With free and with absolute scale.

    Raises
    ------
    ValueError
        If no pixel is valid or the amplitudes vanish there.
    """
    region = np.asarray(valid, dtype=bool)
    f = np.asarray(measured, dtype=np.float64)[region]
    g = np.asarray(model, dtype=np.float64)[region]
    if f.size == 0 or not f.any() or not g.any():
        raise ValueError(
            f"amplitudes must be positive somewhere in the valid region, got {f.size} valid pixels; check the mask"
        )
    scale = float(f @ g / (g @ g))
    norm = float(np.abs(f).sum())
    return AmplitudeError(
        free=float(np.abs(f - scale * g).sum()) / norm,
        absolute=float(np.abs(f - absolute_scale * g).sum()) / norm,
        scale=scale,
    )


def compare_to_model(image: NDArray[np.floating], pixel_size_m: float, model: SampleModel) -> Scores:
    """SSIM and model error of a reconstruction on the crop of science.md 5.

    The image is registered to the truth to a fraction of a pixel, as it is and inverted (both have the same
    diffraction pattern), cropped to 2 ceil(0.75 D / px) + 1 pixels and scaled by least squares without offset; both are
    divided by the truth's maximum. SSIM has data_range 1, a Gaussian window of sigma 1.5 and population covariance.

    Parameters
    ----------
    image : ndarray, shape (n, n)
        The reconstruction, in any linear unit, the object anywhere (periodic).
    pixel_size_m : float
        Its pixel in m.
    model : SampleModel
        What it should show.

    Returns
    -------
    Scores
        SSIM and error of the orientation that correlates better.

    Raises
    ------
    ValueError
        If the image is empty, not finite or smaller than the crop.
    """
    from skimage.metrics import structural_similarity  # slow to import, and only wanted here

    a, t = _on_crop(image, pixel_size_m, model)
    t = t / t.max()
    scale = _scale(a, t)
    a = scale * a
    ssim = structural_similarity(t, a, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return Scores(ssim=float(ssim), error=float(np.abs(a - t).sum() / np.abs(t).sum()), scale=scale, crop_px=len(t))


def _on_crop(
    image: NDArray[np.floating], pixel_size_m: float, model: SampleModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An image registered to its model, and the model, on the crop of science.md 5."""
    half = int(np.ceil(_CROP_PER_OBJECT * model.outer_diameter_m / pixel_size_m))
    n = image.shape[0]
    if image.shape != (n, n) or n < 2 * half + 1:
        raise ValueError(
            f"image must be square and at least {2 * half + 1} px wide, got {image.shape}; use a wider array"
        )
    if not np.isfinite(image).all() or not np.any(image):
        raise ValueError("image must be finite and not all zero, got nothing to compare; reconstruct again")
    truth = model.projection(pixel_size_m, n, _OVERSAMPLE)
    crop = slice(n // 2 - half, n // 2 + half + 1)
    return aligned(image, truth)[crop, crop], truth[crop, crop]


def _scale(a: NDArray[np.float64], t: NDArray[np.float64]) -> float:
    """Least-squares factor of `a` against `t`, without offset."""
    return float((a * t).sum() / (a * a).sum())


def laid_on_model(
    image: NDArray[np.floating], pixel_size_m: float, model: SampleModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An image registered and scaled as for `compare_to_model`, and the model on the same pixels, to be shown together.

    Parameters
    ----------
    image : ndarray, shape (n, n)
        The reconstruction, in any linear unit, the object anywhere (periodic).
    pixel_size_m : float
        Its pixel in m.
    model : SampleModel
        What it should show.

    Returns
    -------
    image, model : ndarray of float64, shape (crop, crop)
        Projected electron density in 1/m^2 on the crop of science.md 5; the image with the least-squares scale.

    Raises
    ------
    ValueError
        As for `compare_to_model`.
    """
    a, t = _on_crop(image, pixel_size_m, model)
    return _scale(a, t) * a, t


def line_profile(image: NDArray[np.floating], *, axis: int = 0) -> NDArray[np.float64]:
    """Central row (axis 1) or column (axis 0) of an image whose object is centred (paper Fig. 4 e, f)."""
    middle = image.shape[1 - axis] // 2
    line = image[:, middle] if axis == 0 else image[middle, :]
    return line.astype(np.float64)


def radial_mean(image: NDArray[np.floating], center: tuple[float, float] | None = None) -> NDArray[np.float64]:
    """Mean over rings one pixel wide about a centre (the middle pixel by default); index is the radius in pixels."""
    n, m = image.shape
    row, col = center if center is not None else (n // 2, m // 2)
    radius = np.hypot(np.arange(n)[:, None] - row, np.arange(m)[None, :] - col)
    reach = int(min(row, col, n - 1 - row, m - 1 - col))
    low = np.floor(radius).astype(np.intp)
    part = radius - low
    inside = low < reach
    # each pixel is shared between the two rings it lies between, so that the profile is smooth
    weight = np.bincount(low[inside], 1 - part[inside], reach + 2) + np.bincount(
        low[inside] + 1, part[inside], reach + 2
    )
    values = image.astype(np.float64)
    total = np.bincount(low[inside], (values * (1 - part))[inside], reach + 2) + np.bincount(
        low[inside] + 1, (values * part)[inside], reach + 2
    )
    return total[: reach + 1] / np.maximum(weight[: reach + 1], 1e-12)


def shell_width_m(image: NDArray[np.floating], pixel_size_m: float) -> float:
    """Width of the ring of a hollow particle's projection at half its height (science.md 4).

    The outer edge is where the azimuthal mean falls to half of the peak, the inner edge where it is half-way between
    the peak and the minimum inside. It is a measure of the image, not the thickness of the shell.

    Parameters
    ----------
    image : ndarray, shape (n, n)
        Reconstruction, the object anywhere.
    pixel_size_m : float
        Its pixel in m.

    Returns
    -------
    float
        Width in m.

    Raises
    ------
    ValueError
        If the image shows no ring.
    """
    a = np.maximum(image.astype(np.float64), 0.0)
    profile = radial_mean(centred_on_mass(a))
    fine = np.arange(0.0, len(profile) - 1, 0.01)
    curve = scipy.ndimage.map_coordinates(profile, [fine], order=3, mode="nearest")
    top = int(np.argmax(curve))
    if top == 0 or curve[: top + 1].min() > 0.98 * curve[top]:
        raise ValueError("image must show a ring, got its maximum in the middle; this is no hollow particle")
    outer = _first(curve[top:] <= 0.5 * curve[top])
    inside = 0.5 * (curve[top] + curve[: top + 1].min())
    inner = _first(curve[: top + 1][::-1] <= inside)
    if outer is None or inner is None:
        raise ValueError("image must fall to half its peak on both sides of the ring, it does not; use a wider array")
    return (outer + inner) * 0.01 * pixel_size_m


def _first(condition: NDArray[np.bool_]) -> int | None:
    """Index of the first True."""
    where = np.flatnonzero(condition)
    return int(where[0]) if where.size else None
