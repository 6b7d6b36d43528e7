"""What a model was trained on and how it answers, without importing torch."""

from dataclasses import dataclass

WORKSHOP_SIZE = 150
"""Side of the workshop's images, in pixels."""

MAX_SIZE = 4_096
"""Of the images of a model that comes from a file; a batch of 32 such images has 1.6 GB."""

THRESHOLD = 0.5
"""Probability above which the answer is the second class."""


@dataclass(frozen=True)
class DataSpec:
    """What a model was trained on; prediction needs it, so checkpoints carry it.

    Attributes:
        class_names: the class folders in label order; the model gives the probability of the second.
        image_size: side of the square input, in pixels.
        resize: Pillow's filter for training and test images.
        predict_resize: Pillow's filter for single pictures; the workshop's differs from ``resize``.
    """

    class_names: tuple[str, str] = ("cat", "dog")
    image_size: int = WORKSHOP_SIZE
    resize: str = "nearest"
    predict_resize: str = "lanczos"
