"""What a fastai user would write: ImageDataLoaders, aug_transforms, a Learner or vision_learner."""

from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import RMSProp
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import vision_learner
from torch import nn
from torchvision import models

from benchmarks.speed.peers.arguments import training
from benchmarks.speed.peers.plain_lightning import basic_features


class Say(Callback):  # type: ignore[misc]  # fastai has no type information
    """Prints a line after each epoch, as the benchmark wants it."""

    def after_epoch(self) -> None:
        print(f"Epoch {self.epoch + 1} {self.recorder.log}", flush=True)


def learner(name: str, data: ImageDataLoaders) -> Learner:
    if name == "basic":
        head = (nn.Flatten(), nn.Linear(17 * 17 * 64, 256), nn.ReLU(), nn.Linear(256, 2))
        network = nn.Sequential(*basic_features(), *head)
        return Learner(data, network, CrossEntropyLossFlat(), RMSProp, metrics=accuracy)
    learn = vision_learner(data, models.vgg16, pretrained=False, opt_func=RMSProp, metrics=accuracy)
    learn.freeze()  # vision_learner does so itself only with pretrained weights, which cost a download
    return learn


def main() -> None:
    options = training()
    data = ImageDataLoaders.from_folder(
        options.data,
        train="train",
        valid="validation",
        bs=50,
        item_tfms=Resize(150, method=ResizeMethod.Squish),
        batch_tfms=aug_transforms(max_rotate=30.0, max_zoom=1.2, min_zoom=0.8, max_lighting=0, max_warp=0),
    )
    learn = learner(options.model, data)
    learn.remove_cb(learn.progress) if hasattr(learn, "progress") else None
    learn.fit(options.epochs, lr=1e-3, cbs=Say())
    if options.save:
        learn.export(options.save.absolute())


if __name__ == "__main__":
    main()
