"""One thin file for each command: parse, call the package, print."""
