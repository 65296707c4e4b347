"""Laying images on one another: shift to a part of a pixel and inversion, and how alike they are.

A diffraction pattern does not tell where the object lies, nor the object from its inversion through the centre. Before
solutions are averaged or compared both are undone (Chen et al., 2007, doi:10.1103/PhysRevB.76.064113).
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

_NEWTON_STEPS = 12
_CLOSE_PX = 1e-5


def registration_shift(image: NDArray[np.floating], reference: NDArray[np.floating]) -> tuple[float, float]:
    """Rows and columns by which an image must be shifted (periodically) to lie on a reference.

    The peak of the circular cross-correlation, refined by Newton's method on its trigonometric interpolation.

    Parameters
    ----------
    image, reference : ndarray, shape (rows, cols)
        Real images of the same shape.

    Returns
    -------
    tuple of float
        (rows, cols), each within half of the image's size.
    """
    spectrum = scipy.fft.fft2(reference.astype(np.float64)) * np.conj(scipy.fft.fft2(image.astype(np.float64)))
    shift, _ = _peak(spectrum)
    return shift


def fourier_shifted(image: NDArray[np.floating], shift: tuple[float, float]) -> NDArray[np.float64]:
    """A real image shifted by any part of a pixel, periodically; exact for odd sizes.

    Parameters
    ----------
    image : ndarray, shape (rows, cols)
        Real image.
    shift : tuple of float
        Rows and columns towards higher indices.

    Returns
    -------
    ndarray of float64, shape (rows, cols)
        The shifted image.
    """
    spectrum = scipy.fft.fft2(image.astype(np.float64)) * _ramp(image.shape, shift)
    out: NDArray[np.float64] = scipy.fft.ifft2(spectrum).real
    return out


def aligned(image: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """An image or its inversion, whichever correlates better, shifted onto a reference.

    Parameters
    ----------
    image, reference : ndarray, shape (n, n)
        Real images; the result does not depend on where the image's object lies.

    Returns
    -------
    ndarray of float64, shape (n, n)
        The image on the reference.
    """
    target = scipy.fft.fft2(reference.astype(np.float64))
    own = scipy.fft.fft2(image.astype(np.float64))
    # the inversion of a real image about pixel [0, 0] has the conjugate transform
    trials = [(candidate, *_peak(target * np.conj(candidate))) for candidate in (own, np.conj(own))]
    best, shift, _ = max(trials, key=lambda trial: trial[2])
    out: NDArray[np.float64] = scipy.fft.ifft2(best * _ramp(image.shape, shift)).real
    return out


def aligned_mean(images: list[NDArray[np.floating]], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of images after each is laid on the reference; shape (n, n)."""
    total = np.zeros(reference.shape)
    for image in images:
        total += aligned(image, reference)
    return total / max(1, len(images))


def coherence(one: NDArray[np.floating], other: NDArray[np.floating], where: NDArray[np.bool_]) -> float:
    """Agreement of two aligned images where the pattern was measured.

    Re sum(G1 conj(G2)) / sqrt(sum |G1|^2 sum |G2|^2) over the measured transform. The removed centre does not count:
    there all images of the same outline agree, whatever their phases.

    Parameters
    ----------
    one, other : ndarray, shape (n, n)
        Real images.
    where : ndarray of bool, shape (n, n)
        Part of the centred transform that counts, zero frequency at ``[n // 2, n // 2]``.

    Returns
    -------
    float
        1 for the same image, 0 for unrelated ones.
    """
    inside = scipy.fft.ifftshift(where)
    a = scipy.fft.fft2(one.astype(np.float64))[inside]
    b = scipy.fft.fft2(other.astype(np.float64))[inside]
    norm = np.sqrt(np.sum(np.abs(a) ** 2) * np.sum(np.abs(b) ** 2))
    return float(np.sum((a * np.conj(b)).real) / norm) if norm > 0 else 0.0


def centred_on_mass(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """A periodic image shifted so that the centre of mass of its positive part is the middle pixel."""
    positive = np.maximum(image.astype(np.float64), 0.0)
    shift = []
    for axis, n in enumerate(image.shape):
        phase = np.exp(2j * np.pi * np.arange(n) / n)
        mean = float(np.angle((positive.sum(axis=1 - axis) * phase).sum())) * n / (2.0 * np.pi)
        shift.append((n // 2 - mean + n / 2) % n - n / 2)
    return fourier_shifted(image, (shift[0], shift[1]))


def _ramp(shape: tuple[int, ...], shift: tuple[float, float]) -> NDArray[np.complex128]:
    """Transform of a shift."""
    rows, cols = (np.exp(-2j * np.pi * scipy.fft.fftfreq(n) * s) for n, s in zip(shape, shift, strict=True))
    return rows[:, None] * cols[None, :]


def _peak(spectrum: NDArray[np.complex128]) -> tuple[tuple[float, float], float]:
    """Place and height of the peak of the correlation with this spectrum."""
    correlation = scipy.fft.ifft2(spectrum).real
    n, m = correlation.shape
    top = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    at = np.array([(int(p) + size // 2) % size - size // 2 for p, size in zip(top, (n, m), strict=True)], dtype=float)
    first = at.copy()
    ky, kx = 2j * np.pi * scipy.fft.fftfreq(n), 2j * np.pi * scipy.fft.fftfreq(m)
    for _ in range(_NEWTON_STEPS):
        rows, cols = np.exp(ky * at[0]), np.exp(kx * at[1])
        by_col = spectrum @ np.stack([cols, kx * cols, kx**2 * cols], axis=1)
        values = (np.stack([rows, ky * rows, ky**2 * rows]) @ by_col).real
        gradient = np.array([values[1, 0], values[0, 1]])
        hessian = np.array([[values[2, 0], values[1, 1]], [values[1, 1], values[0, 2]]])
        if np.linalg.eigvalsh(hessian)[1] >= 0:  # not near a maximum: the whole-pixel peak must do
            return (float(first[0]), float(first[1])), float(correlation[top])
        step = np.clip(np.linalg.solve(hessian, gradient), -0.5, 0.5)
        at = np.clip(at - step, first - 1.0, first + 1.0)
        if np.abs(step).max() < _CLOSE_PX:
            break
    height = (np.exp(ky * at[0]) @ spectrum @ np.exp(kx * at[1])).real / (n * m)
    return (float(at[0]), float(at[1])), float(height)
