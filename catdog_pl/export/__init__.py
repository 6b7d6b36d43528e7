"""A checkpoint written in another tool's format."""
