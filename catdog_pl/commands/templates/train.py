"""Prepare the photographs in data/, train a network on them, test it, and ask it: python train.py."""

from pathlib import Path
from typing import Any

import yaml
from lightning import seed_everything

from catdog_pl import Basic, CatDogDataModule, fit, predict, prepare


def main() -> None:
    """Do all of it; each line may be changed."""
    config: dict[str, Any] = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    if not Path("data/train").is_dir():
        prepare("sample")  # drawn pictures; instead, prepare("my-photographs.zip") takes yours

    seed_everything(config["seed_everything"], verbose=False)
    data = CatDogDataModule(**config["data"], seed=config["seed_everything"])
    model = Basic(image_size=data.image_size, **config["model"]["init_args"])
    run = fit(model, data, **config["trainer"], **config["early_stopping"])

    answers = run.test()
    print(f"Wrong: {(answers['true'] != answers['predicted']).sum()} of {len(answers)}")
    for answer in predict(sorted(Path("data/test").glob("*/*"))[:3], run.best):
        print(f"{answer.source}: {answer.label} (dog with a probability of {answer.probability:.3f})")


if __name__ == "__main__":
    main()
