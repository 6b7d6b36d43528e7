"""Pictures of any kind -> cat or dog; `catdog_pl.predict` is its function."""

BATCH_SIZE = 32
"""Large enough to fill a CPU's cores; a GPU waits for the decoding anyway."""

PART_SIZE = 10_000
"""Answers of a file, where they go into a folder: minutes of work, which is what an interruption may cost."""
