"""Search the basic model's options with Optuna. The same command again goes on where it stopped.

pip install optuna
python examples/tune_optuna.py --root data --trials 20
"""

import optuna
from jsonargparse import auto_cli
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping
from optuna.trial import TrialState

from catdog_pl import Basic, CatDogDataModule


class Pruning(Callback):
    """Ends a trial whose val_loss is above the median of the trials before it at the same epoch."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell Optuna the epoch's loss."""
        self.trial.report(float(trainer.callback_metrics["val_loss"]), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def tune(
    root: str = "data",
    trials: int = 20,
    image_size: int = 100,
    max_epochs: int = 8,
    storage: str = "sqlite:///tuning.sqlite3",
) -> None:
    """Run trials up to this number, those of earlier calls included, and print the best fit's command."""
    data = CatDogDataModule(root)  # one for all trials, so that it decodes the photographs once

    def best_val_loss(trial: optuna.Trial) -> float:
        seed_everything(2018, verbose=False)
        model = Basic(
            image_size=image_size,
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            optimizer=trial.suggest_categorical("optimizer", ["keras_rmsprop", "AdamW"]),
            dense_units=trial.suggest_int("dense_units", 32, 512, log=True),
        )
        stopping = EarlyStopping("val_loss", patience=2)
        trainer = Trainer(
            max_epochs=max_epochs,
            callbacks=[stopping, Pruning(trial)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(model, data)
        return float(stopping.best_score)

    study = optuna.create_study(storage=storage, study_name="basic", load_if_exists=True)
    done = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    study.optimize(best_val_loss, n_trials=max(0, trials - len(done)))
    options = " ".join(f"--model.{name} {value}" for name, value in study.best_params.items())
    print(f"val_loss {study.best_value:.4f}: catdog fit --model basic --image_size {image_size} {options}")


if __name__ == "__main__":
    auto_cli(tune, as_positional=False)
