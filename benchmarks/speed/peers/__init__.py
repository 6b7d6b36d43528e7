"""What a user of another library would write: each a script of its own, run as a process of its own.

Every training takes ``--model``, ``--data`` and ``--epochs``, and prints ``Epoch N`` when the epoch and its
validation are over; the benchmark takes the time when it reads the line. Every prediction takes the model
that ``--save`` left, and a folder.
"""
