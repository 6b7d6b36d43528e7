"""A file of which a part is here, so that a later run can ask for the rest."""

import json
from pathlib import Path


class Part:
    """The bytes that are here already, and which version of the file they are from.

    Args:
        target: where the file will be when it is complete.

    Attributes:
        path: the bytes, ``TARGET.part``.
        note: their version, ``TARGET.part.json``.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        """How many bytes are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """The ETag or date to ask for the rest of, or the empty string."""
        try:
            return str(json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return ""

    def start(self, version: str) -> None:
        """Throw away what is here and note whose bytes will come."""
        self.path.write_bytes(b"")
        self.note.write_text(json.dumps(version), encoding="utf-8")

    def complete(self) -> None:
        """Give the file its name."""
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)

    def remove(self) -> None:
        """Throw away what is here."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
