"""Models as other programs take them: torch.export and ONNX."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from catdog_pl.models import VGG16, Basic, Classifier

MODELS: dict[str, Callable[[], Classifier]] = {
    "basic": lambda: Basic(image_size=32),
    "vgg16": lambda: VGG16(image_size=32, weights="none"),
    "vgg16, imagenet": lambda: VGG16(image_size=32, preprocessing="imagenet", load_weights=False),
}
DYNAMIC = ({0: torch.export.Dim("batch", min=1)},)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Classifier:
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def photographs(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("gradients", [True, False])
def test_an_exported_program_consists_of_plain_layers(model: Classifier, gradients: bool) -> None:
    with torch.set_grad_enabled(gradients):
        program = torch.export.export(model, (photographs(2),), dynamic_shapes=DYNAMIC)
    operations = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {name.partition(".")[0] for name in operations} == {"aten"}
    assert "aten.promote_types.default" not in operations  # which no other program knows
    pixels = photographs(5)
    torch.testing.assert_close(program.module()(pixels), model(pixels), rtol=1e-5, atol=1e-6)


def test_onnx_runtime_gives_the_logits(model: Classifier) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.onnx.export(
        model, (photographs(2),), "model.onnx", dynamo=True, dynamic_shapes=DYNAMIC, verbose=False
    )
    session = runtime.InferenceSession("model.onnx")
    pixels = photographs(5)
    (logits,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(pixels).detach(), rtol=1e-4, atol=1e-5)
