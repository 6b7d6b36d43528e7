"""Cats and dogs: the 2018 Keras workshop in PyTorch Lightning, number for number.

A map of the rooms. Imports run one way, from the bottom of this list to the top, and
``tests/test_imports.py`` holds the table:

    errors         the one-line errors that a user sees; the floor under every room
    complete_file  files that are there whole or not at all; as low as the errors
    data/          images, preparing a folder, the built-in sample, transforms, datamodule
    models/        the Keras defaults, the two networks, the registry of names and checkpoints
    runs           where a run's files are, and which run is the newest
    process        the process that a command runs in: its memory, its messages, its terminal
    arguments      the short forms of the command line
    training       what surrounds a fit: epoch lines, history, seeds, checkpoints
    keras/         Keras files in and out
    reports/       layer table, epoch lines and history, evaluation
    predict        sources -> predictions -> text, CSV, JSON
    cli            fit, validate and test on LightningCLI
    __main__       the table of commands

This module imports nothing heavy, so that ``python -m catdog_pl --help`` answers at once.
"""

__version__ = "0.1.0"
