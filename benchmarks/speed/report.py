"""The figures as Markdown tables, with their ratios to ours."""

from benchmarks.speed.contestants import KERAS
from benchmarks.speed.records import Record, Records

TRAINING_FIGURES = ("later epochs, s", "start to end of first epoch, s", "memory, MB")


def tables(records: Records) -> str:
    """All tables, one behind the other."""
    parts = [training(records, "basic"), training(records, "vgg16")]
    parts += [plain(records, name) for name in ("commands", "limits", "levers", "growth")]
    return "\n\n".join(part for part in parts if part)


def training(records: Records, section: str) -> str:
    """A line for each contestant: seconds, memory, and how many times faster than Keras."""
    rows = records.section(section)
    if not rows:
        return ""
    whole = next(row.figure for row in rows if row.figure.startswith("whole"))
    compared = "later epochs, s" if section == "basic" else whole
    figures = [TRAINING_FIGURES[0], TRAINING_FIGURES[1], whole, TRAINING_FIGURES[2]]
    lines = [f"| {section} | {' | '.join(figures)} | {compared.split(',')[0]}, times faster than Keras |"]
    lines.append("|---" * (len(figures) + 2) + "|")
    base = records.get(section, KERAS, compared)
    for who in dict.fromkeys(row.who for row in rows):
        cells = [number(records.get(section, who, figure)) for figure in figures]
        own = records.get(section, who, compared)
        faster = f"{base.median / own.median:.2f}" if base and own else ""
        lines.append(f"| {who} | {' | '.join(cells)} | {faster} |")
    return "\n".join(lines)


def plain(records: Records, section: str) -> str:
    """A line for each figure."""
    rows = records.section(section)
    lines = [f"| {section} | figure | median | lowest | highest |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.who} | {row.figure} | {row.median:.4g} | {min(row.values):.4g} | {max(row.values):.4g} |"
        for row in rows
    ]
    return "\n".join(lines) if rows else ""


def number(record: Record | None) -> str:
    """The median with three digits, or nothing."""
    return f"{record.median:.3g}" if record else ""
