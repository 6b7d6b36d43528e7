"""Who is measured, and the command of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

OURS = "catdog_pl"
KERAS = "Keras on TensorFlow"
PORT = "plain Lightning port"
FASTAI = "fastai"


@dataclass(frozen=True)
class Contestant:
    """Somebody who trains the workshop's networks.

    Attributes:
        name: what the tables call it.
        words: the command behind ``python``; the model, data and epochs are added.
        environment: variables that it needs.
    """

    name: str
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, model: str, data: Path, epochs: int) -> Sequence[str]:
        """Train ``model`` for so many epochs."""
        if "catdog_pl" not in self.words:
            return [*self.words, "--model", model, "--data", str(data), "--epochs", str(epochs)]
        ours = ["--model", model, "--root", str(data), "--max_epochs", str(epochs), "--patience", "1000"]
        weights = ["--weights", "none"] if model == "vgg16" else []
        return [*self.words, *ours, *weights, "--accelerator", "cpu"]


FIT = ("-m", "catdog_pl", "fit")
PEERS = "benchmarks.speed.peers"
OTHERS = [
    Contestant(KERAS, ("-m", f"{PEERS}.keras_workshop"), {"KERAS_BACKEND": "tensorflow"}),
    Contestant(PORT, ("-m", f"{PEERS}.plain_lightning")),
    Contestant(FASTAI, ("-m", f"{PEERS}.fastai_learner")),
    Contestant("Keras on PyTorch", ("-m", f"{PEERS}.keras_workshop"), {"KERAS_BACKEND": "torch"}),
]
CONTESTANTS = {
    "basic": [
        Contestant(OURS, FIT),
        Contestant(f"{OURS}, bf16-mixed", (*FIT, "--precision", "bf16-mixed")),
        *OTHERS,
    ],
    "vgg16": [
        Contestant(OURS, FIT),
        Contestant(f"{OURS}, bf16_backbone", (*FIT, "--model.bf16_backbone", "true")),
        Contestant(f"{OURS}, cached_views 1", (*FIT, "--model.cached_views", "1")),
        Contestant(
            f"{OURS}, bf16_backbone, cached_views 1",
            (*FIT, "--model.bf16_backbone", "true", "--model.cached_views", "1"),
        ),
        OTHERS[0],
    ],
}
