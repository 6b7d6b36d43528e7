"""What surrounds a fit: epoch lines, checkpoints, seeds, early stopping."""
