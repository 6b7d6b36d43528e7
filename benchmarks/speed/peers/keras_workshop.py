"""The workshop's own script in Keras 3; KERAS_BACKEND chooses TensorFlow or PyTorch."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import Sequential, callbacks, layers, optimizers
from keras.applications import VGG16
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from benchmarks.speed.peers.arguments import training_words

SHAPE = (150, 150, 3)
FLOW = {"target_size": SHAPE[:2], "batch_size": 50, "class_mode": "binary"}
BEST = "best.weights.h5"


def basic() -> Sequential:
    return Sequential(
        [
            layers.Input(SHAPE),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def vgg16(weights: str | None) -> Sequential:
    # Random weights cost the same as pretrained ones and need no download.
    backbone = VGG16(weights=weights, include_top=False, input_shape=SHAPE)
    backbone.trainable = False
    return Sequential(
        [
            layers.Input(SHAPE),
            backbone,
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def main() -> None:
    words = training_words()
    words.add_argument("--weights", help="of vgg16: imagenet or a file; default: random")
    words.add_argument("--seed", type=int, help="default: another one each time")
    words.add_argument("--patience", type=int, help="epochs without a better val_loss; default: never stop")
    words.add_argument(
        "--test", action="store_true", help="print which test photographs are answered wrongly"
    )
    options = words.parse_args()
    if options.seed is not None:
        keras.utils.set_random_seed(options.seed)
    augmented = ImageDataGenerator(
        rescale=1.0 / 255,
        rotation_range=30,
        width_shift_range=0.2,
        height_shift_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
    )
    train = augmented.flow_from_directory(options.data / "train", **FLOW)
    validation = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(
        options.data / "validation", **FLOW
    )
    model = vgg16(options.weights) if options.model == "vgg16" else basic()
    model.compile(
        optimizer=optimizers.RMSprop(learning_rate=1e-3), loss="binary_crossentropy", metrics=["accuracy"]
    )
    say = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(f"Epoch {epoch + 1} {json.dumps(logs)}", flush=True)
    )
    hooks: list[callbacks.Callback] = [say]
    if options.patience is not None:
        hooks.append(callbacks.EarlyStopping(monitor="val_loss", patience=options.patience))
    if options.test:
        hooks.append(callbacks.ModelCheckpoint(BEST, save_best_only=True, save_weights_only=True))
    model.fit(train, epochs=options.epochs, validation_data=validation, callbacks=hooks, verbose=0)
    if options.save:
        model.save(options.save)
    if options.test:
        print(json.dumps(tested(model, options.data)))


def tested(model: Sequential, data: Path) -> dict[str, Any]:
    """The numbers of the test photographs that the last epoch's weights and the best answer wrongly."""
    photographs = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(
        data / "test", shuffle=False, **FLOW
    )

    def wrong() -> list[int]:
        return np.flatnonzero(
            (model.predict(photographs, verbose=0)[:, 0] > 0.5) != photographs.classes
        ).tolist()

    last = wrong()
    model.load_weights(BEST)
    return {"tested": len(photographs.classes), "wrong": wrong(), "wrong_last": last}


if __name__ == "__main__":
    main()
