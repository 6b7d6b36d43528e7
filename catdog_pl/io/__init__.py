"""Files, downloads and what a user names as a source."""
