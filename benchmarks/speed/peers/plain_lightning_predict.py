"""A test and prediction with the plain port's checkpoint: ``plain_lightning_predict.py MODEL FOLDER``."""

from pathlib import Path

import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from benchmarks.speed.peers.arguments import prediction
from benchmarks.speed.peers.plain_lightning import WORKERS, Port, basic, transform


class Pictures(Dataset[Tensor]):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = transform()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        pixels: Tensor = self.transform(Image.open(self.paths[i]).convert("RGB"))
        return pixels


def main() -> None:
    options = prediction()
    port = Port.load_from_checkpoint(options.model, network=basic())
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    if options.labelled:
        trainer.test(port, DataLoader(ImageFolder(options.folder, transform()), batch_size=50, **WORKERS))
        return
    paths = sorted(options.folder.iterdir())
    workers = WORKERS if len(paths) > 1 else {}
    answers = trainer.predict(port, DataLoader(Pictures(paths), batch_size=50, **workers))
    assert answers is not None
    for path, probability in zip(paths, torch.cat(list(answers)).tolist(), strict=True):
        print(path, probability, "dog" if probability > 0.5 else "cat")


if __name__ == "__main__":
    main()
