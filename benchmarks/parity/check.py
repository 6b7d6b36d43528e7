"""What one check is: a difference that was measured, and the largest one that passes."""

from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import catdog_pl


class Check(NamedTuple):
    """One line of the report.

    Attributes:
        what: what was compared, on what.
        measured: the difference, in the unit that ``what`` names.
        allowed: the largest difference that passes.
    """

    what: str
    measured: float
    allowed: float

    @property
    def passes(self) -> bool:
        """Whether the difference is allowed; NaN is not."""
        return self.measured <= self.allowed

    def __str__(self) -> str:
        """One row of the table."""
        return (
            f"{self.what:<74} {self.measured:9.2g} {self.allowed:9.2g}  {'ok' if self.passes else 'DIFFERS'}"
        )


def largest(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """The largest absolute difference between two arrays, which must have the same shape."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert first.shape == second.shape, (first.shape, second.shape)
    return float(np.abs(first - second).max())


def heading() -> str:
    """The line above the table, with the versions that were compared."""
    versions = f"keras {version('keras')}, torch {version('torch')}, catdog_pl {catdog_pl.__version__}"
    return f"{versions}\n{'check':<74} {'measured':>9} {'allowed':>9}"
