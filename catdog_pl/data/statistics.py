"""How sure a counted proportion is."""

import math

Z = 1.959964
"""Standard deviations on both sides of a normal distribution's mean that hold 95 % of it."""


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion, by Wilson's score.

    With p = correct / total and n = total, z as `Z`:
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n). It holds for small n and for p
    near 0 or 1. Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    p, weight = correct / total, Z * Z / total
    centre = p + weight / 2
    margin = math.sqrt(weight * p * (1 - p) + weight * weight / 4)
    return max(0.0, (centre - margin) / (1 + weight)), min(1.0, (centre + margin) / (1 + weight))
