"""This project held against real Keras 3, number for number.

``python -m benchmarks.parity`` prints every check with the largest difference measured; the test suite runs
the same checks. Keras runs live on its torch backend, on the CPU.

    check            what one check is
    referee          real Keras, and the workshop's two models in it
    forward          probabilities and the activations of every layer
    initialisation   the first weights
    training         loss, accuracy, averages over an epoch, the optimizer's steps
    stopping         the epoch that early stopping chooses
    augmentation     drawn parameters and warped pixels
    data             files, classes and pixels of a folder
    distributions    whole trainings, a command of its own that takes hours
"""

import os
import warnings

# Keras chooses its backend when it is first imported, which is in a module of this package.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_TORCH_DEVICE"] = "cpu"  # both sides on one device
# Keras converts tensors in a way that numpy will drop; nothing to act on here.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"keras\.")
