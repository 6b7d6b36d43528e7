"""Loss, accuracy, their averages over an epoch, and the optimizer's steps."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import keras
import numpy as np
import torch
from lightning.pytorch import Trainer
from torch.nn import functional
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from benchmarks.parity.check import Check, largest
from benchmarks.parity.referee import (
    Array,
    Model,
    basic,
    fed,
    images,
    one_thread,
    precision,
    randomise_biases,
    tensor,
    twin,
)
from catdog_pl.models.classifier import Batch, Classifier
from catdog_pl.models.keras_import import import_file

T = TypeVar("T")

STEPS = 10
BATCH = 8


def checks() -> Iterator[Check]:
    """On the basic model, whose parameters all train."""
    keras.utils.set_random_seed(2)
    with one_thread():
        yield from _checks()


def _checks() -> Iterator[Check]:
    yield from epoch_averages()
    yield from extreme_logits()
    yield from ten_steps()
    yield from carried_on()
    yield old_rule()


def epoch_averages() -> Iterator[Check]:
    """``evaluate`` and one epoch of ``fit``, on 22 pictures in batches of 8, the last of which has 6."""
    pixels, labels = images(22, 46, seed=1), np.arange(22) % 3 == 0
    model = basic(46, (8, 8), 16)
    randomise_biases(model)
    ours = twin(model)
    trainer = Trainer(**QUIET, max_epochs=1)
    loader: DataLoader[Batch] = DataLoader(Listed(batches(pixels, labels)), batch_size=None)
    (found,) = trainer.validate(ours, loader, verbose=False)
    loss, accuracy = model.evaluate(fed(pixels), labels, batch_size=BATCH, verbose=0)
    yield Check("loss over an epoch of 8 + 8 + 6 pictures", abs(found["val_loss"] - loss), 1e-6)
    yield Check("accuracy over an epoch of 8 + 8 + 6 pictures", abs(found["val_acc"] - accuracy), 1e-7)
    history = model.fit(fed(pixels), labels, batch_size=BATCH, shuffle=False, verbose=0).history
    trainer.fit(ours.train(), loader)
    running = trainer.callback_metrics
    yield Check(
        "running loss of a training epoch", abs(float(running["train_loss"]) - history["loss"][0]), 1e-5
    )
    yield Check(
        "running accuracy of a training epoch",
        abs(float(running["train_acc"]) - history["accuracy"][0]),
        1e-7,
    )


def extreme_logits() -> Iterator[Check]:
    """Loss and accuracy at large logits, and at a probability of exactly 0.5.

    Keras on TensorFlow takes the logits behind a sigmoid, as this project does. On torch it does not and
    clips the probability to 1e-7, so the referee is told to take them.
    """
    logits = np.array([[-100.0], [-40.0], [-17.0], [-1.0], [0.0], [1.0], [17.0], [40.0], [100.0]], np.float32)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.ones((1, 1)), np.zeros(1)])
    accuracy_of_logits = keras.metrics.BinaryAccuracy(threshold=0.0)
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=[accuracy_of_logits])
    for label in (0, 1):
        labels = np.full(len(logits), label)
        loss, accuracy = model.evaluate(logits, labels, verbose=0)
        found = functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits[:, 0]), torch.from_numpy(labels).float()
        )
        right = (
            ((torch.from_numpy(logits[:, 0]).sigmoid() > 0.5) == torch.from_numpy(labels).bool())
            .float()
            .mean()
        )
        yield Check(
            f"loss at logits of -100 to 100, label {label}, of {loss:.3g}", abs(float(found) - loss), 1e-5
        )
        yield Check(f"accuracy at logits of -100 to 100, label {label}", abs(float(right) - accuracy), 1e-7)


def steps_apart(model: Model, dtype: str, seed: int) -> tuple[float, float]:
    """Ten training steps from the same weights on the same batches.

    Returns:
        The largest difference of the ten losses, and of the weights after them.
    """
    size, count = model.input_shape[1], STEPS * BATCH
    pixels, labels = images(count, size, seed), np.arange(count) % 2
    ours = twin(model)
    expected = keras_losses(model, fed(pixels) if dtype == "float32" else pixels / 255, labels)
    found = our_losses(ours, ours.configure_optimizers(), pixels, labels)
    weights = [array for layer in model.layers for array in layer.get_weights()]
    moved = [largest(theirs, mine) for theirs, mine in zip(weights, our_weights(ours), strict=True)]
    return largest(expected, found), max(moved)


def ten_steps() -> Iterator[Check]:
    """RMSprop on a small model and on the workshop's layers.

    Training is chaotic: one ReLU that float32 rounds to the other side sends two runs apart, Keras' own
    float32 and float64 as well. On the larger model that happens in some runs of ten steps, so that the
    median of several speaks for the rule.
    """
    small = [steps_apart(basic(46, (8, 8), 16), "float32", seed) for seed in range(5)]
    yield Check(
        "losses of 10 steps, basic of 8, 8 and 16 units, float32, worst of 5 runs", worst(small), 1e-4
    )
    large = sorted(steps_apart(basic(46), "float32", seed)[0] for seed in range(5))
    yield Check("losses of 10 steps, basic, 46 px, float32, median of 5 runs", large[2], 1e-4)
    with precision("float64"):
        losses, weights = steps_apart(basic(46), "float64", seed=0)
    yield Check("losses of 10 steps, basic, 46 px, float64", losses, 1e-12)
    yield Check("weights after 10 steps, basic, 46 px, float64", weights, 1e-12)


def worst(runs: list[tuple[float, float]]) -> float:
    """The largest difference of losses in several runs."""
    return max(losses for losses, _ in runs)


def carried_on() -> Iterator[Check]:
    """Training that Keras began, saved to a file, and that goes on here with the file's RMSprop."""
    pixels, labels = images(STEPS * BATCH, 46, seed=3), np.arange(STEPS * BATCH) % 2
    half = len(labels) // 2
    model = basic(46, (8, 8), 16)
    keras_losses(model, fed(pixels[:half]), labels[:half])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "half.keras"
        model.save(path)
        imported = import_file(path)
    assert imported.optimizer is not None
    expected = keras_losses(model, fed(pixels[half:]), labels[half:])
    found = our_losses(imported.model, imported.optimizer, pixels[half:], labels[half:])
    yield Check(
        "losses after going on from a .keras file of Keras' fifth step", largest(expected, found), 1e-4
    )


def old_rule() -> Check:
    """``torch.optim.RMSprop`` against the formula of Keras 2.1.6, epsilon outside the root."""
    random = np.random.default_rng(4)
    weight, mean = random.normal(size=100), np.zeros(100)
    parameter = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    optimizer = torch.optim.RMSprop([parameter], lr=1e-3, alpha=0.9, eps=1e-7)
    for step in range(STEPS):
        gradient = random.normal(size=100) * 10.0 ** (
            step - 7
        )  # from where epsilon rules to where it is lost
        mean = 0.9 * mean + 0.1 * gradient**2
        weight = weight - 1e-3 * gradient / (np.sqrt(mean) + 1e-7)
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    return Check(
        f"the rule of 2018, {STEPS} steps of torch.optim.RMSprop", largest(weight, parameter.detach()), 1e-12
    )


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Listed(Dataset[T]):
    """A list as a data set.

    Args:
        items: what a loader without a batch size gives one by one.
    """

    def __init__(self, items: Sequence[T]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]


def batches(pixels: Array, labels: Array) -> list[Batch]:
    """Batches as the datamodule gives them; the last may be short."""
    index = torch.arange(len(labels))
    return [
        (tensor(pixels[i : i + BATCH]), torch.from_numpy(labels[i : i + BATCH]).long(), index[i : i + BATCH])
        for i in range(0, len(labels), BATCH)
    ]


def keras_losses(model: Model, rescaled: Array, labels: Array) -> list[float]:
    """Keras' loss of each batch before its step."""
    losses = []
    for i in range(0, len(labels), BATCH):
        model.reset_metrics()  # train_on_batch would report the mean of all batches so far
        losses.append(float(model.train_on_batch(rescaled[i : i + BATCH], labels[i : i + BATCH])[0]))
    return losses


def our_losses(ours: Classifier, optimizer: Optimizer, pixels: Array, labels: Array) -> list[float]:
    """Our loss of each batch before its step, of ``training_step`` as Lightning calls it."""
    ours.train()
    ours.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no Trainer to log to
    losses = []
    for i, batch in enumerate(batches(pixels, labels)):
        optimizer.zero_grad()
        loss = ours.training_step(batch, i)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def our_weights(ours: Classifier) -> Iterator[Array]:
    """Our parameters in Keras' order of axes."""
    for parameter in ours.parameters():
        array = parameter.detach().numpy()
        yield array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim])
