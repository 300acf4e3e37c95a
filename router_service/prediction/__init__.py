"""Learned quality: what a text says about its domain, its difficulty, and which model will answer it right, at what length.

`Predictor.load(path)` and `predict(texts)` need numpy and a table of word vectors, no network and no GPU. `training.train`
makes a predictor from labelled examples; `routing.estimates` adds what is seen afterwards. Nothing here does network or database
I/O.
"""

from router_service.prediction.predictor import Prediction, Predictor, general

__all__ = ["Prediction", "Predictor", "general"]
