"""Pictures -> cat or dog: `predict` for a list of sources, `Predictor` to ask again and again."""

from catdog_pl.predict.predictor import Prediction, Predictor, predict

__all__ = ["Prediction", "Predictor", "predict"]
