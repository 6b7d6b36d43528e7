"""Pictures -> decoded in threads -> batches -> an engine -> predictions, in the order of the sources."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from catdog_pl.data.display import picture_html
from catdog_pl.data.images import decode, decode_pixels, resize, resize_rule
from catdog_pl.devices import find_device
from catdog_pl.errors import CatDogError, DownloadError, ImageError, ImageFault, UsageError, one_line
from catdog_pl.io.inputs import expand, is_one
from catdog_pl.io.source import ImageSource, WebOptions
from catdog_pl.prediction import BATCH_SIZE
from catdog_pl.process import gc_paused, is_notebook, program
from catdog_pl.runs import find_checkpoint

if TYPE_CHECKING:  # importing torch takes seconds, which errors of usage must not
    import torch
    from PIL import Image

    from catdog_pl.io.inputs import Input
    from catdog_pl.models.classifier import Classifier
    from catdog_pl.models.spec import DataSpec

THUMBNAIL = 150
"""Height in pixels of the picture that a notebook shows beside an answer."""

PATIENCE = 0.5
"""Seconds after which the answers at hand are given, although the batch is not full yet."""

WORKERS = min(8, 2 * (os.cpu_count() or 1))
"""Threads that decode or download, which is waiting."""

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
        fault: the same as one of a few words; None where there is an answer, or where the model is at fault.
        explanation: where that was asked for, the picture under the places where the network saw the label.
        thumbnail: an element of a page with the picture as the model took it; in a notebook alone.
    """

    source: str
    probability: float | None = None
    label: str | None = None
    error: str | None = None
    fault: ImageFault | None = None
    explanation: "Image.Image | None" = field(default=None, compare=False, repr=False)
    thumbnail: str | None = field(default=None, compare=False, repr=False)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the picture, the class and its probability."""
        source = escape(one_line(self.source))
        if self.probability is None or self.label is None:
            return f"<p>{source}: {escape(str(self.error))}</p>"
        picture = self.thumbnail or ""
        if self.explanation is not None:
            picture = picture_html(self.explanation, THUMBNAIL)
        share = max(self.probability, 1 - self.probability)
        answer = f"<b>{escape(one_line(self.label))}</b> {share:.1%}"
        caption = f"<figcaption>{answer}<br>{source}</figcaption>"
        return f'<figure style="display: inline-block">{picture}{caption}</figure>'


class ModelInput(NamedTuple):
    """One picture as a model takes it, uint8, shape (S, S, 3); and as it is, where it is to be explained."""

    name: str
    pixels: npt.NDArray[np.uint8]
    picture: "Image.Image | None" = None


class Engine(Protocol):
    """What computes the probabilities."""

    @property
    def spec(self) -> "DataSpec":
        """The class names, the size S and the rule to resize by."""

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return P(second class), shape (N,), of pixels in 0..255, shape (N, S, S, 3).

        Raises:
            CatDogError: there is not enough memory for so many at once.
        """


@dataclass(frozen=True)
class TorchEngine:
    """A network in PyTorch, on ``device``: pixels (N, 3, S, S), uint8, 0..255 -> logits (N,).

    With a temperature T the probability is the sigmoid of logit / T (Guo et al. 2017, arXiv:1706.04599).
    """

    model: "Callable[[torch.Tensor], torch.Tensor]"
    spec: "DataSpec"
    device: "str | torch.device" = "cpu"
    temperature: float | None = None
    network: "Classifier | None" = None  # that the logits are of, for explanations

    def probabilities(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the sigmoid of the model's logits, in float32; a temperature never moves it across 0.5."""
        import torch

        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (N, S, S, 3) -> (N, 3, S, S)
        try:
            with torch.inference_mode():
                logits = self.model(batch.to(self.device)).float().detach()
                probabilities = np.asarray(logits.sigmoid().cpu())
        except torch.OutOfMemoryError as error:
            message = f"{self.device} has no memory for {len(pixels)} images at once; lower --batch_size"
            raise CatDogError(message) from error
        if self.temperature is None:
            return probabilities
        calibrated = np.asarray((logits.cpu().double() / self.temperature).sigmoid().float())
        half = np.float32(0.5)  # rounding to the other side of it would change the label
        above = np.maximum(calibrated, np.nextafter(half, np.float32(1)))
        return np.asarray(np.where(probabilities > half, above, np.minimum(calibrated, half)))


@dataclass(frozen=True)
class Predictor:
    """Answers sources with an engine; may be called again and again.

    Decoding and downloading run in threads, ahead of the engine by little more than a batch, so that
    memory does not grow with the number of sources. A bad picture costs no other its answer. How
    pictures fall into batches depends on time, and a probability on its batch by about 1e-6. ``explain``
    turns a picture, as the model takes it and as it is, into its explanation for the second class or the
    first; then the pictures of ``batch_size + 2 * workers`` sources are in memory as they are.
    """

    engine: Engine
    batch_size: int = BATCH_SIZE
    workers: int = WORKERS
    explain: "Callable[[npt.NDArray[np.uint8], Image.Image, bool], Image.Image] | None" = None
    thumbnails: bool = field(default_factory=is_notebook)

    def __call__(self, sources: Iterable[ImageSource]) -> Iterator[Prediction]:
        """Yield one prediction for each source, in order, as they come."""
        batch: list[ModelInput | Prediction] = []
        for picture in self._read_ahead(sources):
            if picture is not None:
                batch.append(picture)
            if len(batch) == self.batch_size or picture is None:  # None: the next lets these wait
                yield from self.answer(batch)
                batch = []
        yield from self.answer(batch)

    def read(self, source: ImageSource) -> ModelInput | Prediction:
        """Read, decode and resize one picture; where that fails, the prediction is the error."""
        size, rule = self.engine.spec.image_size, resize_rule(self.engine.spec.predict_resize)
        try:
            content = source.read()
            if self.explain is None:
                return ModelInput(source.name, decode_pixels(content, source.name, size, rule, WHITE))
            picture = decode(content, source.name, WHITE).image
            return ModelInput(source.name, resize(picture, size, rule), picture)
        except (ImageError, DownloadError) as error:
            # As text, because an exception's traceback would keep the picture.
            return Prediction(source.name, error=error.reason, fault=error.kind)

    def answer(self, batch: Sequence[ModelInput | Prediction]) -> list[Prediction]:
        """Return one prediction for each picture of a batch; those that failed are returned as they are."""
        stack = [picture.pixels for picture in batch if isinstance(picture, ModelInput)]
        probabilities = iter(self.engine.probabilities(np.stack(stack)) if stack else ())
        return [
            self._prediction(picture, next(probabilities)) if isinstance(picture, ModelInput) else picture
            for picture in batch
        ]

    def _prediction(self, given: ModelInput, probability: np.float32) -> Prediction:
        name, pixels, picture = given
        if not np.isfinite(probability):
            return Prediction(name, error="the model's answer is NaN; its training failed, use another one")
        is_second = bool(probability > 0.5)
        label = self.engine.spec.class_names[is_second]
        explained = self.explain(pixels, picture, is_second) if self.explain and picture else None
        thumbnail = picture_html(pixels, THUMBNAIL) if self.thumbnails else None
        return Prediction(name, float(str(probability)), label, explanation=explained, thumbnail=thumbnail)

    def _read_ahead(self, sources: Iterable[ImageSource]) -> Iterator[ModelInput | Prediction | None]:
        """Yield the pictures in order; None while the next one lets the answers before it wait."""
        window: deque[AsyncResult[ModelInput | Prediction]] = deque()
        with ThreadPool(self.workers) as pool:  # daemon threads: a download does not delay Ctrl-C
            for source in sources:
                window.append(pool.apply_async(self.read, (source,)))
                if len(window) > self.batch_size + 2 * self.workers:
                    yield from _wait(window.popleft())
            while window:
                yield from _wait(window.popleft())


def _wait(result: "AsyncResult[ModelInput | Prediction]") -> Iterator[ModelInput | Prediction | None]:
    """Yield the result, and None before it for each ``PATIENCE`` that it takes."""
    while True:
        result.wait(PATIENCE)
        if result.ready():
            yield result.get()
            return
        yield None


def predict(
    inputs: "Input | Iterable[Input]",
    model: "Classifier | str | Path" = "best",
    *,
    accelerator: str = "auto",
    batch_size: int = BATCH_SIZE,
    tta: bool = False,
    calibrated: bool = False,
    explain: bool = False,
    public_only: bool = False,
    seconds: float = WebOptions().seconds,
) -> Iterator[Prediction]:
    """Tell cats from dogs: yield one prediction for each picture, in the order of the inputs, as they come.

    Args:
        inputs: one or several of: the path of a file or folder, an http(s) or data URL, ``-`` for standard
            input, the content of an image file as bytes, a binary file object, a PIL image, a numpy array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, a torch tensor (1, H, W), (3, H, W) or
            (4, H, W) of uint8. A picture that cannot be read is a prediction with an error.
        model: a network, which is put into evaluation mode and stays where it is; or a checkpoint: its path,
            or ``best`` or ``last`` of the newest run; or the path of an ``.onnx`` file of ``export``, which
            is answered on the processor, without ``tta``, ``calibrated`` and ``explain``.
        accelerator: where a checkpoint is loaded: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        batch_size: pictures given to the model at once, at most.
        tta: answer by the mean logit of four views: the picture, its middle, both mirrored; in four times
            the time.
        calibrated: divide the logits by the model's temperature, which ``report`` finds; no label changes.
        explain: give each prediction its ``explanation`` by Grad-CAM, of the whole picture, not mirrored.
            Pictures are then answered one by one, because each is in memory as it is.
        public_only: refuse URLs that lead to private addresses; for URLs that come from somebody else.
        seconds: for each download as a whole.

    Raises:
        CatDogError: the checkpoint or the accelerator cannot be used.
        UsageError: there is no temperature; or, raised when its turn comes, an input is of another type or
            the model cannot be explained.
    """
    predictor = open_predictor(
        model, accelerator=accelerator, batch_size=batch_size, tta=tta, calibrated=calibrated
    )
    if explain:
        predictor = explaining(predictor)
    several = cast("Iterable[Input]", [inputs] if is_one(inputs) else inputs)
    return predictor(expand(several, WebOptions(public_only, seconds)))


def open_predictor(
    model: "Classifier | str | Path" = "best",
    *,
    accelerator: str = "auto",
    batch_size: int = BATCH_SIZE,
    tta: bool = False,
    calibrated: bool = False,
) -> Predictor:
    """Return what answers with a network, a checkpoint or an ONNX file; the arguments are those of `predict`.

    Raises:
        CatDogError: the file or the accelerator cannot be used.
        UsageError: there is no temperature, or an ONNX file is to do what it cannot.
    """
    if isinstance(model, str | Path):
        if Path(model).suffix.lower() == ".onnx":
            path = find_checkpoint(str(model))
            chosen = {"--tta": tta, "--calibrated": calibrated}
            chosen[f"--accelerator {accelerator}"] = accelerator not in ("auto", "cpu")
            if given := [option for option, is_chosen in chosen.items() if is_chosen]:
                raise UsageError(f"{', '.join(given)}: {path} is an ONNX file; this needs a checkpoint")
            from catdog_pl.prediction.onnx import load_engine

            return Predictor(load_engine(path), batch_size)
        model = load(model, accelerator)
    if calibrated and model.temperature is None:
        raise UsageError(
            "There is no temperature to calibrate by in this model; have its checkpoint store one: "
            f"{program()} report --save_temperature"
        )
    logits = model.eval().tta_logits if tta else model.eval()
    device, temperature = next(model.parameters()).device, model.temperature if calibrated else None
    return Predictor(TorchEngine(logits, model.data_spec, device, temperature, model), batch_size)


def explaining(predictor: Predictor, max_side: int | None = None) -> Predictor:
    """Return a predictor that explains by Grad-CAM, one picture after the other, as each is in memory.

    The explained pictures have no side longer than ``max_side`` pixels.

    Raises:
        UsageError: its engine has no network, as that of an ONNX file.
    """
    network = getattr(predictor.engine, "network", None)
    if network is None:
        raise UsageError("An ONNX file gives answers only; to explain them (Grad-CAM), give a checkpoint")
    from catdog_pl.prediction.explain import explanation

    def explain(pixels: npt.NDArray[np.uint8], picture: "Image.Image", is_second: bool) -> "Image.Image":
        if max_side:
            picture.thumbnail((max_side, max_side))
        return explanation(network, pixels, picture, is_second)

    return replace(predictor, batch_size=1, workers=1, explain=explain)


def load(checkpoint: str | Path, accelerator: str) -> "Classifier":
    """Return a checkpoint's model on the device to predict with."""
    path = find_checkpoint(str(checkpoint))  # before torch is imported: a wrong path is answered at once
    with gc_paused():
        from catdog_pl.models.checkpoint import load_checkpoint
    device = find_device(accelerator)
    return load_checkpoint(path).to(device)
