"""A model as one ONNX file, with all its preprocessing but the resizing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from catdog_pl.export.portable import Portable, batches, dynamic_batch, example, metadata
from catdog_pl.io.files import atomic_write
from catdog_pl.models.classifier import Classifier

INPUT, OUTPUT = "pixels", "probability"
"""Names in the file: RGB (N, S, S, 3), uint8, and P(second class) (N,), float32."""


def export_onnx(
    model: Classifier, checkpoint: dict[str, Any], target: Path, photographs: object = None
) -> Iterator[str]:
    """Write an ONNX file whose metadata name the classes, the threshold, the image size and resize filter.

    Raises:
        CatDogError: the file cannot be written.
    """
    program = torch.onnx.export(
        Portable(model),
        (example(model),),
        dynamo=True,
        dynamic_shapes=dynamic_batch(),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None, "with dynamo there is one"
    program.model.metadata_props.update(metadata(model))
    with atomic_write(target) as part:
        program.save(part, external_data=False)
    size = model.data_spec.image_size
    return iter(
        [f"takes {INPUT}, uint8 RGB (N, {size}, {size}, 3), and gives {OUTPUT} (N,) of the second class"]
    )


def answer(path: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return a file's probabilities (N,) for pixels (N, S, S, 3), by ONNX Runtime on the processor."""
    # Only the extra ``export`` has it.
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in batches(pixels)])
