"""Measurements of this project against others, run from the repository's root; not part of the package."""
