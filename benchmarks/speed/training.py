"""Trainings end to end, from files on disk: every contestant in turn, the whole round several times."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.speed.contestants import CONTESTANTS, OURS
from benchmarks.speed.process import LEVERS, figures, run
from benchmarks.speed.records import Records


def measure(records: Records, model: str, data: Path, folder: Path, epochs: int, repeats: int) -> None:
    """Whole trainings, their first and later epochs (training and validation), and their memory.

    Args:
        records: where the figures go.
        model: ``basic`` or ``vgg16``.
        data: a prepared folder.
        folder: where the contestants may write.
        epochs: at least 2.
        repeats: rounds; in each, every contestant runs once.
    """
    for _ in range(repeats):
        for who in CONTESTANTS[model]:
            with TemporaryDirectory() as home:  # without what an earlier run has kept there
                environment = who.environment | {"TORCH_HOME": home}
                done = run(who.command(model, data, epochs), folder, **environment)
            records.add(model, who.name, "later epochs, s", *done.later_epochs)
            records.add(model, who.name, "start to end of first epoch, s", done.epochs[0])
            records.add(model, who.name, f"whole training of {epochs} epochs, s", done.seconds)
            records.add(model, who.name, "memory, MB", done.megabytes)


def levers(records: Records, data: Path, folder: Path, repeats: int) -> None:
    """A step with and without each lever, and an epoch with and without the decoded photographs in memory.

    Args:
        records: where the figures go.
        data: a prepared folder.
        folder: where the runs may write.
        repeats: rounds.
    """
    ours = CONTESTANTS["basic"][0].command("basic", data, 3)
    for _ in range(repeats):
        for words in ([], ["--return_memory"]):
            for figure in figures(["-m", LEVERS, *words], folder):
                records.add("levers", *figure)
        for name, words in {"ours": [], "decoded in every epoch": ["--data.cache_gib", "0"]}.items():
            done = run([*ours, *words], folder)
            records.add("levers", f"basic epoch, float32, {name}", "later epochs, s", *done.later_epochs)


def growth(records: Records, sizes: dict[int, Path], folder: Path, epochs: int) -> None:
    """How an epoch of the basic model and its memory grow with the number of photographs.

    Args:
        records: where the figures go.
        sizes: number of training photographs -> prepared folder.
        folder: where the runs may write.
        epochs: at least 2.
    """
    ours = CONTESTANTS["basic"][0]
    for count, data in sizes.items():
        done = run(ours.command("basic", data, epochs), folder)
        records.add("growth", f"{OURS}, {count:,} photographs", "later epochs, s", *done.later_epochs)
        records.add("growth", f"{OURS}, {count:,} photographs", "memory, MB", done.megabytes)
