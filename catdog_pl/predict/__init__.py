"""Sources -> predictions -> text, JSON, JSON Lines or CSV.

    inputs       what the user names -> pictures to open: files, folders, standard input, URLs
    predictor    pictures -> decoded in threads -> batches -> the model -> predictions, in order
    formats      predictions -> lines
    command      ``python -m catdog_pl predict``

In Python::

    from catdog_pl.predict import predict

    for prediction in predict(["photos", "https://example.org/cat.jpg"]):
        print(prediction.source, prediction.label, prediction.probability, prediction.error)

Importing this room does not import torch; calling ``predict`` does.
"""

from catdog_pl.predict.command import main
from catdog_pl.predict.predictor import Prediction, Predictor, predict

__all__ = ["Prediction", "Predictor", "main", "predict"]
