"""Answer very many pictures with Ray Data, on this machine or on a cluster that is already there.

    pip install "catdog_pl[ray]"
    python examples/predict_ray.py PICTURES OUTPUT CHECKPOINT       # folders, or s3:// and the like

Each actor loads the checkpoint once. A picture that cannot be read is a row with its error.
"""

import sys
from functools import partial
from typing import Any

import ray

from catdog_pl.io.files import IMAGE_EXTENSIONS
from catdog_pl.io.source import ImageSource
from catdog_pl.prediction.formats import COLUMNS
from catdog_pl.prediction.predictor import open_predictor


class Answer:
    """Answers batches of files: ``path`` and ``bytes`` become the columns of ``predict --format parquet``."""

    def __init__(self, checkpoint: str) -> None:
        self.predictor = open_predictor(checkpoint)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Return one answer for each file."""
        files = zip(batch["path"], batch["bytes"], strict=True)
        answers = list(
            self.predictor(ImageSource(str(path), partial(bytes, content)) for path, content in files)
        )
        return {name: [getattr(answer, name) for answer in answers] for name in COLUMNS}


def main(pictures: str, output: str, checkpoint: str) -> None:
    """Answer all pictures below a folder into Parquet files of another one."""
    extensions = [ending.removeprefix(".") for ending in IMAGE_EXTENSIONS]
    files = ray.data.read_binary_files(pictures, include_paths=True, file_extensions=extensions)
    answers = files.map_batches(Answer, fn_constructor_args=(checkpoint,), batch_size=256, concurrency=1)
    answers.write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
