"""Pictures of any kind -> cat or dog; `catdog_pl.predict` is its function."""

BATCH_SIZE = 32
"""Large enough to fill a CPU's cores; a GPU waits for the decoding anyway."""
