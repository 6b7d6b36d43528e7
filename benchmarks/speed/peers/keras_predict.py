"""The workshop's test and prediction in Keras 3: ``keras_predict.py MODEL.keras FOLDER [--labelled]``."""

from pathlib import Path

import numpy as np
from keras.models import load_model
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image

from benchmarks.speed.peers.arguments import prediction

SIZE = (150, 150)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)) / 255


def main() -> None:
    options = prediction()
    model = load_model(options.model)
    if options.labelled:
        flow = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(
            options.folder, target_size=SIZE, batch_size=50, class_mode="binary", shuffle=False
        )
        answers = model.predict(flow, verbose=0)[:, 0] > 0.5
        print((answers == flow.classes).mean())
        return
    paths = sorted(options.folder.iterdir())
    for at in range(0, len(paths), 32):
        batch = np.stack([pixels(path) for path in paths[at : at + 32]])
        for path, probability in zip(paths[at:], model.predict(batch, verbose=0)[:, 0], strict=False):
            print(path, probability, "dog" if probability > 0.5 else "cat")


if __name__ == "__main__":
    main()
