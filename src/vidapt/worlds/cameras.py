"""Where points of a plane appear in the picture: a plane seen by any pinhole camera is a homography."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle on a plane and where a camera sees it.

    Attributes:
        size: (width, height) of the picture in pixels.
        area: (width, height) of the rectangle in metres; its origin is the near left corner, y goes away.
        corners: Where its far left, far right, near right and near left corners are, as shares of the
            picture's width and height.
    """

    size: tuple[int, int]
    area: tuple[float, float]
    corners: Corners


@cache
def homography(view: View) -> np.ndarray:
    """Return the [3, 3] map from metres on the plane to pixels, both homogeneous.

    It is the solution of the eight linear equations that the four corners give.
    """
    width, height = view.area
    plane = ((0.0, height), (width, height), (width, 0.0), (0.0, 0.0))
    rows, right = [], []
    for (x, y), (u_share, v_share) in zip(plane, view.corners, strict=True):
        u, v = u_share * view.size[0], v_share * view.size[1]
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    solved = np.linalg.solve(np.array(rows), np.array(right))
    return np.append(solved, 1.0).reshape(3, 3)


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points [..., 2] by a homography.

    Args:
        matrix: [3, 3].
        points: [..., 2].

    Returns:
        [..., 2] float64.
    """
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]) / depth
    v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]) / depth
    return np.stack([u, v], -1)


def scale_at(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return pixels per metre around points [..., 2]: the root of the area factor |det H| / depth^3."""
    depth = matrix[2, 0] * points[..., 0] + matrix[2, 1] * points[..., 1] + matrix[2, 2]
    scale: np.ndarray = np.sqrt(np.abs(np.linalg.det(matrix) / depth**3))
    return scale
