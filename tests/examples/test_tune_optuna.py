from pathlib import Path

import optuna
import pytest

from catdog_pl.__main__ import main
from examples.tune_optuna import tune


def test_two_trials_are_searched_kept_and_continued(
    photos: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{own_folder / 'tuning.sqlite3'}"
    for trials in (1, 2, 2):
        tune(str(photos), trials, image_size=46, max_epochs=1, storage=storage)
    study = optuna.load_study(study_name="basic", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert study.best_value == min(trial.intermediate_values[0] for trial in study.trials)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"val_loss {study.best_value:.4f}: catdog fit --model basic --image_size 46 ")
    _, _, words = line.partition("catdog ")
    with pytest.raises(SystemExit) as end:
        main([*words.split(), "--print_config"])
    assert end.value.code == 0


def test_a_hopeless_trial_is_pruned(photos: Path, own_folder: Path) -> None:
    storage = f"sqlite:///{own_folder / 'tuning.sqlite3'}"
    study = optuna.create_study(storage=storage, study_name="basic")
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for _ in range(5):  # Optuna's pruner starts after five trials
        study.add_trial(
            optuna.create_trial(value=0.0, intermediate_values={0: 0.0}, distributions=distributions)
        )
    tune(str(photos), 6, image_size=46, max_epochs=2, storage=storage)
    assert study.trials[-1].state.name == "PRUNED"
