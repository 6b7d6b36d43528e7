"""The workshop's own script in Keras 3; KERAS_BACKEND chooses TensorFlow or PyTorch."""

from keras import Sequential, callbacks, layers, optimizers
from keras.applications import VGG16
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from benchmarks.speed.peers.arguments import training

SHAPE = (150, 150, 3)


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


def vgg16() -> Sequential:
    # Random weights cost the same as pretrained ones and need no download.
    backbone = VGG16(weights=None, include_top=False, input_shape=SHAPE)
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
    options = training()
    augmented = ImageDataGenerator(
        rescale=1.0 / 255,
        rotation_range=30,
        width_shift_range=0.2,
        height_shift_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
    )
    flow = {"target_size": SHAPE[:2], "batch_size": 50, "class_mode": "binary"}
    train = augmented.flow_from_directory(options.data / "train", **flow)
    validation = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(
        options.data / "validation", **flow
    )
    model = {"basic": basic, "vgg16": vgg16}[options.model]()
    model.compile(
        optimizer=optimizers.RMSprop(learning_rate=1e-3), loss="binary_crossentropy", metrics=["accuracy"]
    )
    say = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print(f"Epoch {epoch + 1} {logs}", flush=True)
    )
    model.fit(train, epochs=options.epochs, validation_data=validation, callbacks=[say], verbose=0)
    if options.save:
        model.save(options.save)


if __name__ == "__main__":
    main()
