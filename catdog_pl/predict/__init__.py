"""Pictures of any kind -> cat or dog: `predict` for some, `Predictor` to ask again and again."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catdog_pl.predict.predictor import Prediction, Predictor, predict

__all__ = ["Prediction", "Predictor", "predict"]


class _Package(ModuleType):
    """This package, which is called like its function.

    Python gives a package that was imported the place of ``catdog_pl.predict``, where users expect the
    function.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.predict(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        # Importing numpy and Pillow takes time, which the help pages shall not cost.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from catdog_pl.predict import predictor

        return getattr(predictor, name)


sys.modules[__name__].__class__ = _Package
