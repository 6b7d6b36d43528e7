"""Pictures -> decoded in threads -> batches -> the model -> predictions, in the order of the sources."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from catdog_pl.data.images import decode, resize, resize_rule
from catdog_pl.devices import find_device
from catdog_pl.errors import CatDogError, DownloadError, ImageError
from catdog_pl.io.source import ImageSource, Input, WebOptions, expand
from catdog_pl.process import gc_paused
from catdog_pl.runs import find_checkpoint

if TYPE_CHECKING:  # importing torch takes seconds, which --help and errors of usage must not
    import torch

    from catdog_pl.models.classifier import Classifier, DataSpec

BATCH_SIZE = 32
"""Large enough to fill a CPU's cores; a GPU waits for the decoding anyway."""

PATIENCE = 0.5
"""Seconds after which the answers at hand are given, although the batch is not full yet."""

WORKERS = min(8, 2 * (os.cpu_count() or 1))
"""Threads that decode or download, which is waiting. Each may hold ``MAX_PIXELS``, 0.4 GB."""

WHITE = (255, 255, 255)
"""What is put behind transparent pixels: most pictures that have some were made for a white page."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture; either ``error`` is None, or the two fields before it are.

    Attributes:
        source: what the user called it; secrets in a URL are masked.
        probability: of the second class (``dog``), 0..1; a float32 written with as few digits as name it.
        label: the class; the second one where the probability is above 0.5, and not where it is 0.5.
        error: why there is no answer, in one line.
    """

    source: str
    probability: float | None = None
    label: str | None = None
    error: str | None = None


class Decoded(NamedTuple):
    """One picture on its way: its pixels, uint8 (S, S, 3), or the reason why there are none."""

    name: str
    pixels: npt.NDArray[np.uint8] | None
    error: str | None = None


@dataclass(frozen=True)
class Predictor:
    """Answers sources with a model; may be called again and again.

    Decoding and downloading run in threads, ahead of the model by little more than a batch, so that
    memory does not grow with the number of sources. A bad picture costs no other its answer. How
    pictures fall into batches depends on time, and a probability on its batch by about 1e-6.

    Attributes:
        model: pixels (N, 3, S, S), uint8, 0..255, on ``device`` -> logits (N,).
        spec: the class names, the size S and the rule to resize by.
        device: where the model is.
        batch_size: pictures given to the model at once, at most.
        public_only: refuse URLs that lead to private addresses; for URLs that come from somebody else.
        seconds: for each download as a whole.
        workers: threads that decode or download.
    """

    model: "Callable[[torch.Tensor], torch.Tensor]"
    spec: "DataSpec"
    device: "str | torch.device" = "cpu"
    batch_size: int = BATCH_SIZE
    public_only: bool = False
    seconds: float = WebOptions().seconds
    workers: int = WORKERS

    def __call__(self, sources: Iterable[Input]) -> Iterator[Prediction]:
        """One prediction for each picture, in the order of the sources, as they come.

        Raises:
            CatDogError: the device has not enough memory for a batch.
        """
        batch: list[Decoded] = []
        for decoded in self._decoded(expand(sources, WebOptions(self.public_only, self.seconds))):
            if decoded is not None:
                batch.append(decoded)
            if len(batch) == self.batch_size or decoded is None:  # None: the next lets these wait
                yield from self._answer(batch)
                batch = []
        yield from self._answer(batch)

    def _decoded(self, inputs: Iterable[ImageSource]) -> Iterator[Decoded | None]:
        """The pictures in order; None while the next one lets the answers before it wait."""
        window: deque[AsyncResult[Decoded]] = deque()
        with ThreadPool(self.workers) as pool:  # daemon threads: a download does not delay Ctrl-C
            for picture in inputs:
                window.append(pool.apply_async(self._decode, (picture,)))
                if len(window) > self.batch_size + 2 * self.workers:
                    yield from _wait(window.popleft())
            while window:
                yield from _wait(window.popleft())

    def _decode(self, picture: ImageSource) -> Decoded:
        rule = resize_rule(self.spec.predict_resize)
        try:
            image = decode(picture.read(), picture.name, WHITE).image
            return Decoded(picture.name, resize(image, self.spec.image_size, rule))
        except (ImageError, DownloadError) as error:
            return Decoded(picture.name, None, error.reason)

    def _answer(self, batch: list[Decoded]) -> Iterator[Prediction]:
        answers = iter(self._probabilities([d.pixels for d in batch if d.pixels is not None]))
        for name, pixels, error in batch:
            yield Prediction(name, error=error) if pixels is None else self._prediction(name, next(answers))

    def _prediction(self, name: str, probability: np.float32) -> Prediction:
        if not np.isfinite(probability):
            return Prediction(name, error="the model's answer is not a number; its training went astray")
        label = self.spec.class_names[int(probability > 0.5)]
        return Prediction(name, float(str(probability)), label)

    def _probabilities(self, pixels: list[npt.NDArray[np.uint8]]) -> list[np.float32]:
        """The sigmoid of the model's logits, in float32."""
        import torch

        if not pixels:
            return []
        batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # (N, S, S, 3) -> (N, 3, S, S)
        try:
            with torch.inference_mode():
                probabilities = self.model(batch.to(self.device)).float().sigmoid()
        except torch.OutOfMemoryError as error:
            message = f"{self.device} has no memory for {len(pixels)} images at once; lower --batch_size"
            raise CatDogError(message) from error
        return list(probabilities.cpu().numpy())


def predict(
    sources: Input | Iterable[Input],
    *,
    model: "Classifier | None" = None,
    ckpt_path: str | Path = "best",
    accelerator: str = "auto",
    batch_size: int = BATCH_SIZE,
    public_only: bool = False,
    seconds: float = WebOptions().seconds,
) -> Iterator[Prediction]:
    """Cat or dog.

    Args:
        sources: files, folders, http(s) and data URLs, ``-`` for standard input, contents of image
            files as bytes; one or several.
        model: the network to ask; it is put into evaluation mode and stays where it is.
        ckpt_path: without a model: ``best`` or ``last`` of the newest run, or the path of a checkpoint.
        accelerator: where a checkpoint is loaded: ``auto``, ``cpu`` or ``gpu``.
        batch_size: pictures given to the model at once, at most.
        public_only: refuse URLs that lead to private addresses; for URLs that come from somebody else.
        seconds: for each download as a whole.

    Returns:
        One prediction for each picture, in the order of the sources; errors are predictions, too.

    Raises:
        CatDogError: the checkpoint or the accelerator cannot be used.
    """
    if isinstance(sources, str | Path | bytes):
        sources = [sources]
    network = (load(ckpt_path, accelerator) if model is None else model).eval()
    device = next(network.parameters()).device
    return Predictor(network, network.data_spec, device, batch_size, public_only, seconds)(sources)


def load(ckpt_path: str | Path, accelerator: str) -> "Classifier":
    """A checkpoint's model on the device to predict with.

    Raises:
        CatDogError: the checkpoint or the accelerator cannot be used.
    """
    path = find_checkpoint(str(ckpt_path))  # before torch is imported: a wrong path is answered at once
    with gc_paused():
        from catdog_pl.models.checkpoint import load_checkpoint

    device = find_device(accelerator)
    return load_checkpoint(path).to(device)


def _wait(result: "AsyncResult[Decoded]") -> Iterator[Decoded | None]:
    """The result, and None before it for each ``PATIENCE`` that it takes."""
    while True:
        result.wait(PATIENCE)
        if result.ready():
            yield result.get()
            return
        yield None
