"""BatchNorm folded into convolutions, and left where that would change the numbers."""

import pytest
import torch
from torch import Tensor, nn

from catdog_pl.models.backbones import create_backbone
from catdog_pl.models.convolution import fold_batch_norm


def shaken(network: nn.Module) -> nn.Module:
    """The network with BatchNorms that do something."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                assert values is not None
                values.add_(torch.rand_like(values))
    return network.eval()


class NormWithReLU(nn.BatchNorm2d):
    """As timm has it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(super().forward(x))
        return activated


class Unordered(nn.Sequential):
    """Calls its layers in another order than they are registered in."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self[0](self[1](x))
        return result


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, NormWithReLU])
def test_the_copy_has_no_batch_norm_and_the_same_output(norm: type[nn.BatchNorm2d]) -> None:
    network = shaken(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm(4), nn.Conv2d(4, 2, 1)))
    x = torch.randn(2, 3, 8, 8)
    copy = fold_batch_norm(network, x)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in copy.modules())
    torch.testing.assert_close(copy(x), network(x))
    assert type(network.get_submodule("1")) is norm


@pytest.mark.parametrize("network", [Unordered(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)), nn.Conv2d(3, 4, 3)])
def test_what_cannot_be_folded_stays(network: nn.Module) -> None:
    assert fold_batch_norm(shaken(network), torch.randn(2, 3, 8, 8)) is network


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "densenet121"])
def test_published_networks_fold(name: str) -> None:
    network = shaken(create_backbone(name, "none"))
    x = torch.randn(2, 3, 64, 64)
    copy = fold_batch_norm(network, x)
    assert copy is not network
    torch.testing.assert_close(copy(x), network(x), rtol=1e-3, atol=1e-3 * float(network(x).detach().norm()))
