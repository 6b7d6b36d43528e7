from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from catdog_pl.models import VGG16, Basic, Classifier
from catdog_pl.models.summary import layer_rows, table, totals

BASIC_TABLE = [
    ("conv2d_1", "Conv2D", (148, 148, 32), 896),
    ("max_pooling2d_1", "MaxPooling2D", (74, 74, 32), 0),
    ("conv2d_2", "Conv2D", (72, 72, 64), 18496),
    ("max_pooling2d_2", "MaxPooling2D", (36, 36, 64), 0),
    ("conv2d_3", "Conv2D", (34, 34, 64), 36928),
    ("max_pooling2d_3", "MaxPooling2D", (17, 17, 64), 0),
    ("flatten_1", "Flatten", (18496,), 0),
    ("dense_1", "Dense", (256,), 4735232),
    ("dense_2", "Dense", (1,), 257),
]
VGG16_TABLE = [
    ("input_1", "InputLayer", (150, 150, 3), 0),
    ("block1_conv1", "Conv2D", (150, 150, 64), 1792),
    ("block1_conv2", "Conv2D", (150, 150, 64), 36928),
    ("block1_pool", "MaxPooling2D", (75, 75, 64), 0),
    ("block2_conv1", "Conv2D", (75, 75, 128), 73856),
    ("block2_conv2", "Conv2D", (75, 75, 128), 147584),
    ("block2_pool", "MaxPooling2D", (37, 37, 128), 0),
    ("block3_conv1", "Conv2D", (37, 37, 256), 295168),
    ("block3_conv2", "Conv2D", (37, 37, 256), 590080),
    ("block3_conv3", "Conv2D", (37, 37, 256), 590080),
    ("block3_pool", "MaxPooling2D", (18, 18, 256), 0),
    ("block4_conv1", "Conv2D", (18, 18, 512), 1180160),
    ("block4_conv2", "Conv2D", (18, 18, 512), 2359808),
    ("block4_conv3", "Conv2D", (18, 18, 512), 2359808),
    ("block4_pool", "MaxPooling2D", (9, 9, 512), 0),
    ("block5_conv1", "Conv2D", (9, 9, 512), 2359808),
    ("block5_conv2", "Conv2D", (9, 9, 512), 2359808),
    ("block5_conv3", "Conv2D", (9, 9, 512), 2359808),
    ("block5_pool", "MaxPooling2D", (4, 4, 512), 0),
    ("flatten_1", "Flatten", (8192,), 0),
    ("dense_1", "Dense", (256,), 2097408),
    ("dropout_1", "Dropout", (256,), 0),
    ("dense_2", "Dense", (1,), 257),
]
"""The workshop's two printed summaries; its counters of a long session (dense_5) restarted at 1."""


def test_basic_has_the_workshops_layers() -> None:
    model = Basic.skeleton()
    assert layer_rows(model) == BASIC_TABLE
    assert totals(model).splitlines() == [
        "Total params: 4,791,809",
        "Trainable params: 4,791,809",
        "Non-trainable params: 0",
    ]


def test_vgg16_has_the_workshops_layers() -> None:
    model = VGG16.skeleton()  # reads no weights, of which there are none here
    assert layer_rows(model) == VGG16_TABLE
    assert totals(model).splitlines() == [
        "Total params: 16,812,353",
        "Trainable params: 2,097,665",
        "Non-trainable params: 14,714,688",
        "[INFO]     Pretrained model layers: 19",
        "[INFO]     Total number of layers : 23",
    ]


def test_a_row_is_keras_line() -> None:
    rule = "_" * 65
    assert table(layer_rows(Basic.skeleton())[:2]).splitlines() == [
        rule,
        "Layer (type)                 Output Shape              Param #   ",
        "=" * 65,
        "conv2d_1 (Conv2D)            (None, 148, 148, 32)      896       ",
        rule,
        "max_pooling2d_1 (MaxPooling2 (None, 74, 74, 32)        0         ",
        "=" * 65,
    ]


class Residual(nn.Module):
    """A network as torchvision writes them: blocks in blocks, and layers that Keras has no name for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.act = nn.SiLU()
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.drop_path = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        shortcut: Tensor = self.drop_path(self.layer1(x))
        return x + shortcut


class Foreign(Classifier):
    name: ClassVar[str] = "foreign"
    has_backbone: ClassVar[bool] = True

    def __init__(self, image_size: int = 8) -> None:
        super().__init__(image_size, 0.001, "SGD", None)
        self.features: Any = Residual()
        self.features.requires_grad_(False)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))

    def preprocess(self, pixels: Tensor) -> Tensor:
        return self.rescale(pixels)


@pytest.mark.parametrize("training", [True, False])
def test_any_network_has_a_table(training: bool) -> None:
    model = Foreign().train(training)
    variances = model.features.bn1.running_var.clone()
    assert layer_rows(model) == [
        ("input_1", "InputLayer", (8, 8, 3), 0),
        ("conv1", "Conv2D", (8, 8, 4), 108),
        ("bn1", "BatchNormalization", (8, 8, 4), 8),
        ("layer1", "Sequential", (8, 8, 4), 20),
        ("drop_path", "Identity", (8, 8, 4), 0),
        ("0", "AdaptiveAvgPool2d", (1, 1, 4), 0),
        ("1", "Flatten", (4,), 0),
        ("2", "Dense", (1,), 5),
    ]
    assert totals(model).splitlines()[-2:] == [
        "[INFO]     Pretrained model layers: 5",
        "[INFO]     Total number of layers : 8",
    ]
    assert model.training is training
    assert torch.equal(model.features.bn1.running_var, variances)
