"""Families of solutions: which seeds found the same image, and which of the images to trust (science.md 4).

More than half of the seeds can end in a wrong minimum, an image of its own with a larger R factor. Solutions are sorted
into families that agree, ring by ring, where the pattern was measured; the family with the smallest R is chosen among
those more than one seed found.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.align import aligned, aligned_mean, coherence

_LIKE_LEADER, _LIKE_MEAN = 0.87, 0.90  # coherence: two members of a family reach 0.89 and more, of two families 0.85
_TEMPLATE_OF = 8
_MOST_FAMILIES = 6
_LEAST_MEMBERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Seeds that ended in the same image.

    Attributes
    ----------
    members : tuple of int
        Indices of the solutions, smallest R first.
    r_factor : float
        Median R of the better half of the members.
    """

    members: tuple[int, ...]
    r_factor: float


def find_families(
    images: NDArray[np.float32], r_factors: NDArray[np.float64], where: NDArray[np.bool_]
) -> list[Family]:
    """Sort solutions into families.

    Parameters
    ----------
    images : ndarray of float32, shape (seeds, n, n)
        Solutions.
    r_factors : ndarray of float64, shape (seeds,)
        Their R factors.
    where : ndarray of bool, shape (n, n)
        Part of the centred transform that counts: measured and above the noise.

    Returns
    -------
    list of Family
        At most six, the trusted one first: smallest R of those with at least two members. Solutions that resemble no
        other end up as families of one.
    """
    left = list(np.argsort(r_factors, kind="stable"))
    found: list[Family] = []
    while left and len(found) < _MOST_FAMILIES:
        leader = images[left[0]]
        on_leader = {k: aligned(images[k], leader) for k in left}
        alike = [k for k in left if coherence(on_leader[k], leader, where) >= _LIKE_LEADER]
        template = np.mean([on_leader[k] for k in alike[:_TEMPLATE_OF]], axis=0)
        members = [k for k in left if k == left[0] or coherence(on_leader[k], template, where) >= _LIKE_MEAN]
        better = r_factors[members[: (len(members) + 1) // 2]]
        found.append(Family(members=tuple(int(k) for k in members), r_factor=float(np.median(better))))
        left = [k for k in left if k not in members]
    return sorted(found, key=lambda family: (len(family.members) < _LEAST_MEMBERS, family.r_factor))


def best_mean(images: NDArray[np.float32], family: Family, most: int) -> NDArray[np.float64]:
    """Mean of the best members of a family, laid on the best one; shape (n, n)."""
    chosen = family.members[: max(1, most)]
    return aligned_mean([images[k] for k in chosen], images[chosen[0]])


def group_agreement(
    images: NDArray[np.float32],
    r_factors: NDArray[np.float64],
    where: NDArray[np.bool_],
    *,
    fraction: float,
) -> float:
    """Coherence of two images, each made from one half of the seeds alone.

    Both halves choose their own family: when they choose different ones, the coherence says so.

    Parameters
    ----------
    images, r_factors, where
        As for `find_families`; at least two seeds.
    fraction : float
        Part of the seeds averaged.

    Returns
    -------
    float
        1 when both halves show the same image; 0 with fewer than two seeds.
    """
    if len(images) < 2:
        return 0.0
    halves = []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        family = find_families(images[part], r_factors[part], where)[0]
        halves.append(best_mean(images[part], family, round(fraction * len(images[part]))))
    return coherence(aligned(halves[1], halves[0]), halves[0], where)
