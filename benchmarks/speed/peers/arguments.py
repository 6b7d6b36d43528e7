"""The words that every peer takes."""

import argparse
from pathlib import Path


def training() -> argparse.Namespace:
    """What every peer's training takes."""
    return training_words().parse_args()


def training_words() -> argparse.ArgumentParser:
    """``--model basic|vgg16 --data FOLDER --epochs N [--save FILE]``."""
    words = argparse.ArgumentParser()
    words.add_argument("--model", choices=("basic", "vgg16"), required=True)
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--epochs", type=int, required=True)
    words.add_argument("--save", type=Path, help="where the trained model goes")
    return words


def prediction() -> argparse.Namespace:
    """``MODEL FOLDER [--labelled]``: print each picture's answer, or the accuracy."""
    words = argparse.ArgumentParser()
    words.add_argument("model", type=Path)
    words.add_argument("folder", type=Path)
    words.add_argument("--labelled", action="store_true", help="a folder for each class: print the accuracy")
    return words.parse_args()
