"""Figures, kept as they come and written to a file after each."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Figure = tuple[str, str, float]
"""One value as a measuring process gives it: who, what with its unit, and how much."""


@dataclass
class Record:
    """One figure of one contestant, once for each repeat.

    Attributes:
        section: what was measured: ``basic``, ``vgg16``, ``commands``, ``limits``, ``levers``, ``growth``.
        who: the contestant.
        figure: the quantity with its unit, such as ``later epoch, s``.
        values: in the order of the repeats.
    """

    section: str
    who: str
    figure: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle of the values."""
        return statistics.median(self.values)


class Records:
    """All figures of a benchmark.

    Args:
        path: the JSON file that is written after each figure.
        about: what else the file says: machine, versions, options.
        anew: the sections that are measured now; of the others, what the file holds is kept.
    """

    def __init__(self, path: Path, about: dict[str, Any], anew: Sequence[str]) -> None:
        self.path = path
        self.about = about
        before = json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []
        kept = [Record(**record) for record in before if record["section"] not in anew]
        self._records = {(record.section, record.who, record.figure): record for record in kept}

    def add(self, section: str, who: str, figure: str, *values: float) -> None:
        """Take values of one repeat; print and save them."""
        key = (section, who, figure)
        self._records.setdefault(key, Record(*key)).values += values
        print(f"{section:<10}{who:<32}{figure:<34}{', '.join(f'{v:.4g}' for v in values)}", flush=True)
        self.save()

    def save(self) -> None:
        """Write the file anew."""
        content = {**self.about, "records": [asdict(record) for record in self._records.values()]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def section(self, name: str) -> list[Record]:
        """The records of a section, in the order in which they came."""
        return [record for record in self._records.values() if record.section == name]

    def get(self, section: str, who: str, figure: str) -> Record | None:
        """One record, or None where it was not measured."""
        return self._records.get((section, who, figure))
