"""Outlines: smooth closed curves, ellipses, limbs, fur.

A shape is an array of points (N, 2), x to the right and y downwards.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = NDArray[np.float64]
Points: TypeAlias = Sequence[tuple[float, float]] | Shape

STEPS = 8  # straight pieces from one control point to the next; their corners stay below one pixel
BETWEEN = np.linspace(0.0, 1.0, STEPS, endpoint=False)[None, :, None]
_ANGLES = np.linspace(0.0, 2 * np.pi, 32, endpoint=False)
CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_HALF_TURN = np.linspace(np.pi / 2, -np.pi / 2, 9)[1:-1, None]


def curve(points: Points, *, closed: bool = True) -> Shape:
    """Joins control points by a smooth curve.

    It is the uniform Catmull-Rom spline and passes through all of them; a point given twice makes a corner.

    Args:
        points: at least two control points.
        closed: whether the last point joins the first.

    Returns:
        Points along the curve.
    """
    knots = np.asarray(points, dtype=np.float64)
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([before, knots, after])[:, None, :]
    count = len(padded) - 3
    p0, p1, p2, p3 = (padded[k : k + count] for k in range(4))
    cubic = 1.5 * (p1 - p2) + 0.5 * (p3 - p0)
    square = p0 - 2.5 * p1 + 2.0 * p2 - 0.5 * p3
    pieces = (((cubic * BETWEEN + square) * BETWEEN + 0.5 * (p2 - p0)) * BETWEEN + p1).reshape(-1, 2)
    return pieces if closed else np.concatenate([pieces, knots[-1:]])


def both_sides(right: Points) -> Shape:
    """Returns a symmetric closed curve from its right half, given from top to bottom."""
    half = np.asarray(right, dtype=np.float64)
    return curve(np.concatenate([half, half[::-1] * (-1, 1)]))


def oval(x: float, y: float, rx: float, ry: float) -> Shape:
    """Returns an ellipse around (x, y) with the half-axes rx and ry."""
    return CIRCLE * (rx, ry) + (x, y)


def ribbon(centre: Points, widths: Sequence[float]) -> Shape:
    """Returns the outline of a limb, a tail or a hair, with a round far end.

    Args:
        centre: control points of its middle line.
        widths: half-widths, spread evenly from the first point to the last.
    """
    line = curve(centre, closed=False)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    half = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)[:, None]
    end = line[-1] + widths[-1] * (np.cos(_HALF_TURN) * along[-1] + np.sin(_HALF_TURN) * across[-1])
    return np.concatenate([line + half * across, end, (line - half * across)[::-1]])


def furry(shape: Shape, depth: float, rng: np.random.Generator) -> Shape:
    """Roughens a closed outline into tufts that stand out by up to `depth`."""
    tufts = rng.random(len(shape)) * depth
    tufts[1::2] = 0
    return shape + outward(shape) * tufts[:, None]


def outward(shape: Shape) -> Shape:
    """Returns the unit vectors (N, 2) that point out of a closed outline at each of its points."""
    around = np.concatenate([shape[-1:], shape, shape[:1]])
    along = around[2:] - around[:-2]
    twice_area = float(np.sum(shape[:, 0] * around[2:, 1] - shape[:, 1] * around[2:, 0]))
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1) * np.sign(twice_area)
    unit: Shape = normals / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    return unit
