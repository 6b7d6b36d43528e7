"""The table of models: complete, lazy, and the only place that knows a name."""

import subprocess
import sys

import pytest

from catdog_pl import models
from catdog_pl.errors import UsageError
from catdog_pl.models.registry import MODELS, class_path, model_class, model_name


@pytest.mark.parametrize("name", MODELS)
def test_every_name_leads_to_its_class_and_back(name: str) -> None:
    cls = model_class(name)
    assert cls.name == name
    path = class_path(name)
    assert getattr(models, path.removeprefix("catdog_pl.models.")) is cls
    assert class_path(path) == path
    for other in (f"catdog_pl.{cls.__name__}", f"{cls.__module__}.{cls.__name__}"):
        assert model_name(other) == name
    assert model_name(path) == model_name(name) == name


def test_class_paths_of_old_runs_stay() -> None:
    assert class_path("basic") == "catdog_pl.models.Basic"
    assert class_path("vgg16") == "catdog_pl.models.VGG16"
    assert class_path("transfer") == "catdog_pl.models.Transfer"


@pytest.mark.parametrize("look_up", [model_class, class_path, model_name])
@pytest.mark.parametrize("name", ["resnet", "os.system", "", None, ["basic"]])
def test_an_unknown_model_is_refused_in_one_way(look_up: object, name: object) -> None:
    with pytest.raises(UsageError) as error:
        look_up(name)  # type: ignore[operator]
    assert str(error.value) == f"Model {name!r} is unknown; valid are basic, vgg16, transfer, sequential"


def test_the_table_costs_nothing() -> None:
    program = "import sys, catdog_pl.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
