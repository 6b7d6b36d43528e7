"""The benchmark of accuracy keeps and counts trainings right; how accurate anything is, no test says."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import trainings
from benchmarks.accuracy import RECIPES, lever_table, levers_of, recipes_of, table
from benchmarks.machine import REPOSITORY
from benchmarks.parity.distributions import comparisons, subset
from benchmarks.statistics import (
    curve_test,
    detectable_difference,
    divisions,
    mcnemar_error,
    mean_interval,
    rank_test,
)
from benchmarks.trainings import Recipe, Training, Trainings, accuracy, command, train, train_all
from catdog_pl.__main__ import main

MACHINE = {"processor": "Z80", "cores": 1, "features": ["ldir"], "system": "CP/M", "commit": "0"}


def training(recipe: str = "basic", seed: int = 1, **values: Any) -> Training:
    losses = values.pop("val_loss", [0.7, 0.5, 0.6])
    identity = {"recipe": recipe, "options": RECIPES[recipe].options, "seed": seed}
    how = {"val_loss": losses, "val_acc": [0.5, 0.8, 0.7][: len(losses)], "best_epoch": 2, "stopped_epoch": 3}
    tested = {"tested": 10, "wrong": [0, 1], "wrong_last": [0, 1, 2], "minutes": 3.0, "cpu_minutes": 5.0}
    photos = {"train": 40, "validation": 20, "test": 10}
    place = {"versions": {"torch": "2.10"}, "machine": MACHINE, "threads": 2, "device": "1 x cpu"}
    return {**identity, "photos": photos, **how, **tested, **place, **values}


def test_each_training_is_kept_once_and_found_by_what_it_was(tmp_path: Path) -> None:
    file = Trainings(tmp_path / "results" / "accuracy.json")
    assert file.all() == []
    file.path.parent.mkdir()
    for one in (training(), training(seed=2), training("vgg16")):
        file.add(one)
    file.add(training(minutes=9.0))
    newer = training(seed=2, versions={"torch": "2.11"})
    assert file.has(training(minutes=1.0))
    assert not file.has(newer)
    file.add(newer)
    assert [(one["recipe"], one["seed"], one["minutes"]) for one in file.all()] == [
        ("vgg16", 1, 3.0),
        ("basic", 1, 9.0),
        ("basic", 2, 3.0),
    ]
    assert file.has(newer)
    assert not file.has(training(seed=2))
    assert len(file.path.read_text(encoding="utf-8").splitlines()) == 5  # a training a line


def options(**values: Any) -> Namespace:
    return command(None, [1, 2]).parse_args([], Namespace(**values))


def test_a_benchmark_that_was_stopped_trains_what_is_missing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def fake(recipe: Recipe, wanted: Training, *_: Any) -> Training:
        if recipe.fit == "fails":
            raise RuntimeError("fit ended with 1")
        trained.append((wanted["recipe"], wanted["seed"]))
        return {**training(), **wanted}

    monkeypatch.setattr(trainings, "train", fake)
    file = Trainings(tmp_path / "accuracy.json")
    both = {"basic": RECIPES["basic"], "broken": Recipe("fails")}
    assert train_all(both, options(seeds=[1, 2]), photos, file) == 1
    assert trained == [("basic", 1), ("basic", 2)]
    said = capsys.readouterr()
    assert "0 trainings are there, 4 to do" in said.out
    assert "broken, seed 1: fit ended with 1" in said.err
    assert train_all({"basic": RECIPES["basic"]}, options(seeds=[1, 2, 3], jobs=2), photos, file) == 0
    assert "2 trainings are there, 1 to do" in capsys.readouterr().out
    assert trained[2:] == [("basic", 3)]
    train_all({"basic": RECIPES["basic"]}, options(seeds=[3], again=True), photos, file)
    assert trained[3:] == [("basic", 3)]
    assert len(file.all()) == 3


@pytest.mark.parametrize("name", RECIPES)
def test_the_options_of_every_recipe_exist(name: str) -> None:
    recipe = RECIPES[name]
    words = recipe.words(None)
    assert "{" not in "".join(words)
    if not recipe.keras:
        with pytest.raises(SystemExit) as end:
            main(["fit", *words, "--print_config"])
        assert end.value.code == 0


def test_weights_are_a_file_of_the_folder_or_the_word_and_the_record_names_no_folder(tmp_path: Path) -> None:
    recipe = RECIPES["vgg16"]
    assert recipe.words(None) == ["--model", "vgg16", "--weights", "keras"]
    assert recipe.words(tmp_path)[-1] == str(tmp_path / "vgg16-notop.h5")
    assert str(tmp_path) not in recipe.options


def test_a_configuration_counts_by_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "REPOSITORY", tmp_path)
    (tmp_path / "configs").mkdir()
    texts = ("a: 1\nb: 2", "b: 2  # a reason\na: 1", "a: 1\nb: 3")
    options = []
    for text in texts:
        (tmp_path / "configs" / "mine.yaml").write_text(text, encoding="utf-8")
        options.append(Recipe("--config mine --seed 1").options)
    assert options[0].startswith("--config mine@")
    assert options[0].endswith(" --seed 1")
    assert options[0] == options[1] != options[2]


@pytest.mark.slow
def test_a_real_training_gives_its_curve_and_its_wrong_answers(photos: Path, tmp_path: Path) -> None:
    recipe = Recipe("--model basic --image_size 46 --max_epochs 2 --accelerator cpu", tta=True)
    wanted = trainings.identity("basic", recipe, 3, photos)
    done = train(recipe, wanted, photos, options(threads=1, keep=tmp_path))
    assert done["stopped_epoch"] == len(done["val_loss"]) == len(done["val_acc"]) == 2
    assert done["val_loss"][done["best_epoch"] - 1] == min(done["val_loss"])
    assert done["tested"] == done["photos"]["test"] > 0
    for which in ("wrong", "wrong_last", "wrong_tta"):
        assert set(done[which]) <= set(range(done["tested"]))
    assert done["device"].startswith("Training on 1 x cpu (1 threads)")
    assert done["minutes"] > 0
    assert "seed_everything: 3" in next(tmp_path.glob("basic-3/checkpoints/*/*/config.yaml")).read_text(
        "utf-8"
    )
    json.dumps(done)


@pytest.mark.slow
def test_the_workshops_script_in_keras_gives_the_same(photos: Path, tmp_path: Path) -> None:
    recipe = Recipe("--model basic --epochs 1 --patience 2", keras=True)
    words = [*recipe.words(None), "--seed", "1"]
    _, went = trainings.keras_training(recipe, words, photos, tmp_path, {"KERAS_BACKEND": "torch"})
    assert went["best_epoch"] == went["stopped_epoch"] == len(went["val_loss"]) == 1
    assert went["wrong"] == went["wrong_last"]  # one epoch is the best and the last
    assert set(went) < set(training())


def test_the_table_gives_each_recipe_its_means_and_says_what_a_point_means() -> None:
    runs = [
        training(seed=1),
        training(seed=2, wrong=[0, 1, 2, 5]),
        training("vgg16", wrong=[7], wrong_tta=[]),
    ]
    lines = table(runs).splitlines()
    assert lines[2].startswith(
        "| basic | 40 | 2 | 0.7000 ± 0.1414 | 0.000 to 1.000 | 0.397 to 0.892 |  | 2.0 (2"
    )
    assert lines[3].startswith("| vgg16 | 40 | 1 | 0.9000 |  | 0.596 to 0.982 | 1.0000 | 2.0 (2")
    assert "- vgg16: `fit --model vgg16 --weights keras`" in lines
    assert lines[-1] == "- Z80, 1 cores (ldir), 2 threads; torch 2.10"
    # They differ on 2, 3 and 5 photographs: the median's error is sqrt(3) / 10.
    assert "is 0.1 of 10 test photographs" in lines[5]
    assert "differ on 3 photographs or more" in lines[6]
    assert "standard error of 17.32 points (McNemar)" in lines[6]
    assert "| basic (--model basic --max_epochs 1) |" in table(
        [training(options="--model basic --max_epochs 1")]
    )


def test_the_table_of_levers_says_what_each_is_worth_and_what_may_be_chance() -> None:
    runs = [
        training("short", wrong=[0]),
        training("short", seed=2, wrong=[0, 1, 2]),
        training("short-no-crops", wrong=[]),
        training("short-no-crops", seed=2, wrong=[1, 3]),
        training("short-no-dropout", wrong=[1, 2, 3, 4, 5]),
    ]
    assert recipes_of([*runs, training()]) == [training()]
    assert levers_of([*runs, training()]) == runs
    assert lever_table(runs).splitlines()[2:5] == [
        "| nothing |  | 2 | 0.800 | +0.0 | 0.800 |",
        "| dropout | `--model.dropout 0` | 1 | 0.500 | +30.0 | 0.800 |",
        "| crops | `--augment keras --data.rotation 30` | 2 | 0.900 | -10.0 | 0.800 |",
    ]
    # Four squares of a tenth, and five values in three groups: the root of 0.04 / 2.
    assert "standard deviation of 14.1 points (pooled over all rows)" in lever_table(runs)
    assert "with 2 seeds, points lost have a standard error of 14.1: less than 27.7 may" in lever_table(runs)
    assert lever_table([]) == "No lever is measured yet."


def test_both_times_of_a_recipe_are_those_of_its_quickest_training() -> None:
    on_gpu = training(seed=2, minutes=1.0, machine=MACHINE | {"gpu": "Voodoo"})
    del on_gpu["cpu_minutes"]
    slow = training(seed=3, minutes=4.0, cpu_minutes=2.0)
    assert "| 3.0 | 5.0 | 1 cores |" in table([slow, training()])
    assert "| 1.0 |  | 1 cores, Voodoo |" in table([slow, training(), on_gpu])


def test_the_pages_show_the_results_that_are_in_the_file() -> None:
    page = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8")
    _, _, shown = page.partition("<!-- table -->\n")
    measured = Trainings(trainings.RESULTS).all()
    assert shown.partition("\n<!-- end of table -->")[0] == table(recipes_of(measured))
    page = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    _, _, shown = page.partition("<!-- table -->\n")
    assert shown.partition("\n<!-- end of table -->")[0] == lever_table(levers_of(measured))


def test_the_comparison_with_keras_takes_what_both_have_trained() -> None:
    ours = [training(seed=seed, val_loss=[0.7, 0.5 - seed / 100, 0.6]) for seed in range(5)]
    theirs = [training("keras-basic", seed=seed, val_loss=[0.9, 0.4 - seed / 100]) for seed in range(5)]
    others = [training("vgg16"), training("keras-basic", seed=9, options="keras | --epochs 1")]
    (text,) = comparisons([*ours, *theirs, *others], ["basic", "vgg16"])
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines()}
    assert "| catdog_pl, 5 seeds | Keras, 5 seeds |" in text
    assert rows["best epoch"] == "| best epoch | 2 ± 0 (5) | 2 ± 0 (5) | 1.00 | 0 |"
    assert (
        rows["lowest val_loss"]
        == "| lowest val_loss | 0.48 ± 0.0158 (5) | 0.38 ± 0.0158 (5) | 0.01 | 0.0319 |"
    )
    assert rows["val_loss, epochs 1 to 2"].split(" | ")[3] == "0.01"
    assert rows["val_loss, epoch 3"] == "| val_loss, epoch 3 | 0.6 ± 0 (5) |  | | |"


def test_a_subset_has_the_first_photographs_of_each_class(photos: Path, tmp_path: Path) -> None:
    found = subset(photos, 4, tmp_path / "subset")
    all_cats = sorted(path.name for path in (photos / "train" / "cat").iterdir())
    assert sorted(path.name for path in (found / "train" / "cat").iterdir()) == all_cats[:2]
    assert sum(1 for _ in (found / "train").glob("*/*")) == 4
    assert {path.name for path in found.iterdir()} == {"train", "validation", "test"}


def test_intervals_and_powers_are_those_of_the_textbooks() -> None:
    assert mean_interval([0.7, 0.72, 0.74]) == pytest.approx((0.72 - 0.04968, 0.72 + 0.04968), abs=1e-5)
    assert mcnemar_error(25, 1000) == 0.005
    assert rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert rank_test([3, 3, 4], [3, 4, 3]) == pytest.approx(1.0)
    five = [-1.264911, -0.632456, 0.0, 0.632456, 1.264911]  # standard deviation 1
    # Cohen's table for a power of 0.8 at 5 % with 5 and 5 values says 2.02 standard deviations.
    assert detectable_difference(five, five) == pytest.approx(2.02, abs=0.005)


def test_curves_are_compared_up_to_the_shortest_by_all_divisions() -> None:
    low, high = [[0.5, 0.4, 9.0], [0.6, 0.5], [0.55, 0.45]], [[0.9, 0.8], [0.8, 0.7, 0.1], [0.85, 0.75]]
    assert curve_test(low, high) == pytest.approx(2 / 20)  # no other division but its mirror is as far apart
    assert curve_test(low, low) == 1.0
    assert len(list(divisions(10, 5))) == 252
    many = list(divisions(40, 20))
    assert len(many) == 10_000
    assert many[0] == range(20)
    assert accuracy(training()) == 0.8
    assert accuracy(training(), "wrong_last") == 0.7
