"""Convolutions together with what follows them, computed faster."""

from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

CACHE_BYTES = 12 * 2**20
"""Bytes of a convolution's output that are computed at a time; on 2 cores, 6 to 22 MB differ by 2 %."""


class ConvBlocks(nn.Sequential):
    """Blocks of a 3x3 convolution, a 2x2 max-pooling and a ReLU, three modules each.

    A float32 training on the CPU takes each block as one piece, see ``TrainingBlock``: a step of the basic
    model lasts 8 % less (on 2 cores), with the same numbers up to rounding. The three modules are not called
    then, so hooks on them want ``eval()``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, filters of the last block, H', W'), >= 0."""
        in_pieces = self.training and torch.is_grad_enabled() and x.device.type == "cpu"
        if not in_pieces or compute_dtype(x) is not torch.float32:
            output: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return output
        for convolution in self:
            if isinstance(convolution, nn.Conv2d):
                x = TrainingBlock.apply(x, convolution.weight, convolution.bias)
        return x


class TrainingBlock(torch.autograd.Function):
    """relu(max_pool2d(conv2d(x, weight, bias), 2)) and its gradients, some images at a time.

    What lies between the convolution and the pooling, most of a training's traffic, stays in the processor's
    cache and is not kept for the backward pass. The bias comes behind the pooling, where it belongs as well
    (both orders round alike) and where its gradient is the sum of a quarter of the numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (N, filters, (H - 2) // 2, (W - 2) // 2), >= 0, in channels_last memory.

        ``x`` is (N, channels, H, W), ``weight`` (filters, channels, 3, 3), ``bias`` (filters,).
        """
        sides = [(side - 2) // 2 for side in x.shape[2:]]
        output = x.new_empty((len(x), *sides, len(weight))).permute(0, 3, 1, 2)  # channels_last in memory
        winners = torch.empty_like(output, dtype=torch.int64)
        for chunk in chunks(x, weight):
            convolved = torch.conv2d(x[chunk], weight)
            torch.ops.aten.max_pool2d_with_indices.out(
                convolved, [2, 2], [2, 2], out=output[chunk], indices=winners[chunk]
            )
        output.add_(bias.view(-1, 1, 1)).relu_()
        ctx.save_for_backward(x, weight, output, winners)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the gradients of x, weight and bias from that of the output."""
        x, weight, output, winners = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        x_gradient = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        weight_gradient = torch.zeros_like(weight)
        sides = [side - 2 for side in x.shape[2:]]
        for chunk in chunks(x, weight):
            images = x[chunk]
            # Of the convolution's output, the pooling's gradient needs the shape alone.
            convolved = x.new_empty((len(images), *sides, len(weight))).permute(0, 3, 1, 2)
            spread = torch.ops.aten.max_pool2d_with_indices_backward(
                gradient[chunk], convolved, [2, 2], [2, 2], [0, 0], [1, 1], False, winners[chunk]
            )
            output_mask = [x_gradient is not None, True, False]
            for_x, for_weight, _ = torch.ops.aten.convolution_backward(
                spread, images, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, output_mask
            )
            weight_gradient += for_weight
            if x_gradient is not None:
                x_gradient[chunk] = for_x
        return x_gradient, weight_gradient, gradient.sum((0, 2, 3))


def chunks(x: Tensor, weight: Tensor) -> list[slice]:
    """Return slices of the batch whose convolutions fit the cache, with two images or more per thread."""
    nbytes = len(weight) * (x.shape[2] - 2) * (x.shape[3] - 2) * x.element_size()
    count = max(CACHE_BYTES // nbytes, 2 * torch.get_num_threads())
    return [slice(start, start + count) for start in range(0, len(x), count)]


class ConvReLU(nn.Conv2d):
    """A convolution followed by a ReLU, as Keras' ``Conv2D(activation="relu")``.

    Where no gradient passes, oneDNN does both in one pass on the CPU, as torch.compile would make it do:
    bit for bit the same numbers, for VGG16 in 3 % less time in float32 and a third less in bfloat16. While a
    model is exported or compiled the layers are called one by one: ONNX has no name for both at once.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H', W'), >= 0."""
        dtype = compute_dtype(x)
        has_gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        is_exported = torch.compiler.is_compiling()  # True for torch.export, too
        if has_gradient or is_exported or x.device.type != "cpu" or not fuses(dtype):
            return functional.relu(super().forward(x), inplace=True)
        weight, bias = self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype)
        shape = self.padding, self.stride, self.dilation, self.groups
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x.to(dtype), weight, bias, *shape, "relu", [], ""
        )
        return fused


def fold_batch_norm(network: nn.Module, x: Tensor) -> nn.Module:
    """Return a faster copy of a network for inference, with each BatchNorm in the convolution before it.

    Layers are taken to be called in the order in which they are registered. Where that is wrong, or there is
    no BatchNorm, it is the network itself.

    Args:
        network: in evaluation mode.
        x: some input, for which the copy has to give the same output up to rounding.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()):
        return network
    copy = deepcopy(network)
    for parent in list(copy.modules()):
        for (name, layer), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, after, getattr(norm, "act", nn.Identity()))  # timm's apply a ReLU as well
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # TF32 has three digits
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False), exact:
        expected = network(x)
        is_same = bool((copy(x) - expected).norm() <= 1e-4 * expected.norm())
    return copy if is_same else network


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a convolution of ``x`` computes on the CPU, under autocast or not."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def fuses(dtype: torch.dtype) -> bool:
    """Return whether oneDNN computes in this dtype on this processor; it has no gradients and no float64."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype is torch.float32
