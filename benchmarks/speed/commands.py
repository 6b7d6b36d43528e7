"""What a user waits for: help, one picture, a thousand pictures, a test; each as a whole process."""

import shutil
from pathlib import Path

from benchmarks.speed.contestants import FASTAI, KERAS, OURS, PEERS, PORT
from benchmarks.speed.process import LIMITS, figures, run
from benchmarks.speed.records import Records

HELP = ("--help", "prepare --help", "predict --help", "summary --help", "keras --help", "fit --help")
PREDICTIONS = {
    KERAS: ["-m", f"{PEERS}.keras_predict", "model.keras"],
    PORT: ["-m", f"{PEERS}.plain_lightning_predict", "model.ckpt"],
    FASTAI: ["-m", f"{PEERS}.fastai_predict", "model.pkl"],
}
THOUSAND = 1000


def measure(records: Records, data: Path, folder: Path, repeats: int) -> None:
    """All commands in turn, the whole round several times, on a basic model trained for one epoch."""
    run(["-m", "catdog_pl", "fit", "--root", str(data), "--max_epochs", "1"], folder)
    run(["-m", "catdog_pl", "keras", "export", "best", "--output", "model.keras"], folder)
    for script, model in (("plain_lightning", "model.ckpt"), ("fastai_learner", "model.pkl")):
        words = ["--model", "basic", "--data", str(data), "--epochs", "1", "--save", model]
        run(["-m", f"{PEERS}.{script}", *words], folder)
    one, thousand = folder / "one", folder / "thousand"
    gather(data, one, 1)
    gather(data, thousand, THOUSAND)
    rounds = {
        "import torch": ["-c", "import torch"],
        "import torch, torchvision": ["-c", "import torch, torchvision"],
        **{f"{OURS}, {words}": ["-m", "catdog_pl", *words.split()] for words in HELP},
        f"{OURS}, predict one picture": ["-m", "catdog_pl", "predict", *map(str, one.iterdir())],
        f"{OURS}, predict {THOUSAND} pictures": ["-m", "catdog_pl", "predict", str(thousand)],
        f"{OURS}, test": ["-m", "catdog_pl", "test", "--root", str(data)],
    }
    for who, words in PREDICTIONS.items():
        rounds[f"{who}, predict one picture"] = [*words, str(one)]
        rounds[f"{who}, predict {THOUSAND} pictures"] = [*words, str(thousand)]
        rounds[f"{who}, test"] = [*words, str(data / "test"), "--labelled"]
    for _ in range(repeats):
        for who, words in rounds.items():
            done = run(words, folder, KERAS_BACKEND="tensorflow")
            records.add("commands", who, "whole process, s", done.seconds)
            records.add("commands", who, "processor time, s", done.cpu)
        for who, figure, value in figures(["-m", LIMITS, str(data), "--prediction"], folder):
            records.add("commands", f"limit of predict: {who}", figure, value)


def gather(data: Path, target: Path, count: int) -> None:
    """So many photographs of a prepared folder in one folder; where there are fewer, again."""
    target.mkdir()
    photos = sorted(data.rglob("*.jpg"))
    for i in range(count):
        shutil.copy(photos[i % len(photos)], target / f"{i}.jpg")
