"""Answers of a file that ``export`` has written, by ONNX Runtime: PyTorch, slow to import, is not needed."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from catdog_pl.data.images import resize_rule
from catdog_pl.errors import CatDogError, CheckpointError, UsageError, first_line
from catdog_pl.io.files import file_fault
from catdog_pl.models.spec import MAX_SIZE, THRESHOLD, DataSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INPUT, OUTPUT = "pixels", "probability"
"""As ``export`` names them: RGB (N, S, S, 3), uint8, and P(second class) (N,), float32."""


@dataclass(frozen=True)
class OnnxEngine:
    """An `Engine` on the processor."""

    session: "InferenceSession"
    spec: DataSpec

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return P(second class), shape (N,), of pixels in 0..255, shape (N, S, S, 3).

        Raises:
            CatDogError: the file's network fails, or gives something else.
        """
        try:
            answers: npt.NDArray[np.float32] = self.session.run([OUTPUT], {INPUT: pixels})[0]
        except Exception as error:  # ONNX Runtime's own have no common class
            raise CatDogError(f"The ONNX file fails on {len(pixels)} images: {first_line(error)}") from error
        if answers.shape != pixels.shape[:1] or (abs(answers - 0.5) > 0.5).any():
            raise CatDogError("The ONNX file gives no probabilities; give one that export has written")
        return answers


def load_engine(path: Path) -> OnnxEngine:
    """Return the engine of a file.

    Raises:
        UsageError: ONNX Runtime is not installed.
        CheckpointError: the file is missing, damaged, or none that ``export`` has written.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path} needs ONNX Runtime: pip install onnxruntime") from error
    if fault := file_fault(path):
        raise CheckpointError(f"ONNX file {path}: {fault}; give one that export has written")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what concerns the user is raised
    # Threads that wait for work leave the processors to those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # By its path: ONNX Runtime then reads no other file than one in the same folder.
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # to the same provider, with a message on standard output
        )
        return OnnxEngine(session, read_spec(session))
    except Exception as error:
        advice = "give one that export has written"
        raise CheckpointError(f"ONNX file {path} cannot be used ({first_line(error)}); {advice}") from error


def read_spec(session: Any) -> DataSpec:
    """Return what the metadata of a file say, if its network is as they say; else a ``ValueError``."""
    about = session.get_modelmeta().custom_metadata_map
    names = next(csv.reader([about.get("class_names", "")]))
    size = about.get("image_size", "")
    taken = [(node.name, node.type, *map(str, node.shape[1:])) for node in session.get_inputs()]
    given = [(node.name, node.type, len(node.shape)) for node in session.get_outputs()]
    if len(names) != 2 or about.get("threshold") != str(THRESHOLD):
        raise ValueError("its metadata name no two classes and a threshold of 0.5")
    if taken != [(INPUT, "tensor(uint8)", size, size, "3")] or given != [(OUTPUT, "tensor(float)", 1)]:
        raise ValueError(f"its network takes {taken} and gives {given}")
    if not 0 < int(size) <= MAX_SIZE:
        raise ValueError(f"its image_size is {size}; valid are 1 to {MAX_SIZE}")
    return DataSpec((names[0], names[1]), int(size), predict_resize=resize_rule(about.get("resize", "")))
