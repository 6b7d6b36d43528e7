"""The words that every peer takes."""

import argparse
from pathlib import Path


def parse() -> argparse.Namespace:
    """``--model basic|vgg16 --data FOLDER --epochs N``."""
    words = argparse.ArgumentParser()
    words.add_argument("--model", choices=("basic", "vgg16"), required=True)
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--epochs", type=int, required=True)
    return words.parse_args()
