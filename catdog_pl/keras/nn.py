"""What Keras does and PyTorch does not: its initialisers, its layers, its RMSprop rule.

A layer here has the name of Keras' class; it takes and gives PyTorch's order of axes, (N, C, H, W).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

Edges = tuple[int, int, int, int]
"""Pixels of padding left, right, above and below, as ``torch.nn.functional.pad`` takes them."""


def glorot_uniform_(module: nn.Module) -> None:
    """Initialise every convolution and dense layer inside ``module`` as Keras does, in place.

    Kernels are uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, the default
    ``kernel_initializer`` of Conv2D and Dense), biases are zero. On the workshop's layers this is
    0.7 to 2.4 times the limit of PyTorch's own default, which draws the biases too.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if isinstance(layer, DepthwiseConv2D):  # whose kernel is (kh, kw, channels, multiplier) in Keras
                fans = layer.weight[0].numel() * (layer.in_channels + layer.out_channels // layer.groups)
                nn.init.uniform_(layer.weight, -((6 / fans) ** 0.5), (6 / fans) ** 0.5)
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class KerasFlatten(nn.Module):
    """Flatten in Keras' order: (N, C, H, W) -> (N, H * W * C); what is flat already stays.

    Free when the memory is already channels_last, and Keras' Dense kernels load without permuting.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, H * W * C)."""
        return x.movedim(1, -1).flatten(1)


class KerasRescaling(nn.Module):
    """``pixels * scale + offset``, one number of each for every channel; ``bgr`` turns RGB into BGR first."""

    def __init__(self, scale: Sequence[float], offset: Sequence[float], bgr: bool = False) -> None:
        super().__init__()
        self.scale, self.offset, self.bgr = tuple(scale), tuple(offset), bgr

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape, (N, C, H, W)."""
        scale, offset = (x.new_tensor(values).view(-1, 1, 1) for values in (self.scale, self.offset))
        return (x.flip(1) if self.bgr else x) * scale + offset


class Conv2D(nn.Conv2d):
    """A convolution whose padding may differ by side, as that of Keras' ``same`` does."""

    def __init__(
        self, n_in: int, n_out: int, kernel_size: tuple[int, int], *, edges: Edges, **options: Any
    ) -> None:
        left, right, above, below = edges
        is_symmetric = left == right and above == below
        super().__init__(n_in, n_out, kernel_size, padding=(above, left) if is_symmetric else 0, **options)
        self.edges = (0, 0, 0, 0) if is_symmetric else edges

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H', W')."""
        return super().forward(functional.pad(x, self.edges) if any(self.edges) else x)


class DepthwiseConv2D(Conv2D):
    """A convolution of each channel by itself; Keras stores its kernel as (kh, kw, channels, multiplier)."""


class SeparableConv2D(nn.Module):
    """A depthwise convolution without bias, then a 1 x 1 convolution."""

    def __init__(self, depthwise: DepthwiseConv2D, filters: int, bias: bool) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.pointwise = nn.Conv2d(depthwise.out_channels, filters, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, filters, H', W')."""
        mixed: Tensor = self.pointwise(self.depthwise(x))
        return mixed


class Dense(nn.Linear):
    """A dense layer on the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class MaxPooling2D(nn.Module):
    """Max-pooling whose padding is below every number, and may differ by side."""

    def __init__(self, size: Sequence[int], strides: Sequence[int], edges: Edges) -> None:
        super().__init__()
        self.size, self.strides, self.edges = tuple(size), tuple(strides), edges

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        padded = functional.pad(x, self.edges, value=float("-inf")) if any(self.edges) else x
        return functional.max_pool2d(padded, self.size, self.strides)


class AveragePooling2D(MaxPooling2D):
    """Average-pooling that does not count its padding."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')."""
        if not any(self.edges):
            return functional.avg_pool2d(x, self.size, self.strides)
        x, counted = (functional.pad(image, self.edges) for image in (x, torch.ones_like(x[:1, :1])))
        sums, shares = (functional.avg_pool2d(image, self.size, self.strides) for image in (x, counted))
        return sums / shares


class GlobalPooling2D(nn.Module):
    """The mean or the largest value of each channel, (N, C), or (N, C, 1, 1) with ``keepdims``."""

    def __init__(self, reduce: Callable[..., Tensor], keepdims: bool) -> None:
        super().__init__()
        self.reduce, self.keepdims = reduce, keepdims

    def forward(self, x: Tensor) -> Tensor:
        """Reduce (N, C, H, W)."""
        return self.reduce(x, (2, 3), keepdim=self.keepdims)


class BatchNormalization(nn.Module):
    """Batch normalisation as Keras 3 trains it: its variance is the sum of squares divided by n.

    ``torch.nn.BatchNorm2d`` divides that of its moving variance by n - 1, refuses batches of one sample, and
    has scale and offset both or neither. A frozen one always normalises by its moving mean and variance.
    """

    def __init__(self, channels: int, momentum: float, epsilon: float, center: bool, scale: bool) -> None:
        super().__init__()
        self.momentum, self.epsilon, self.frozen = momentum, epsilon, False
        self.weight = nn.Parameter(torch.ones(channels)) if scale else None
        self.bias = nn.Parameter(torch.zeros(channels)) if center else None
        self.running_mean = nn.Buffer(torch.zeros(channels))
        self.running_var = nn.Buffer(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C) or (N, C, H, W) by channel."""
        training = self.training and not self.frozen
        if training:
            variance, mean = torch.var_mean(x.detach(), (0, *range(2, x.ndim)), correction=0)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), 1 - self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), 1 - self.momentum)
        mean_of, variance_of = (None, None) if training else (self.running_mean, self.running_var)
        affine, cudnn = (self.weight, self.bias), torch.backends.cudnn.enabled
        return torch.batch_norm(x, *affine, mean_of, variance_of, training, 0.0, self.epsilon, cudnn)


class LayerNormalization(nn.Module):
    """Layer normalisation over the channels."""

    def __init__(self, channels: int, epsilon: float, center: bool, scale: bool) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels)) if scale else None
        self.bias = nn.Parameter(torch.zeros(channels)) if center else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C) or (N, C, H, W), each pixel by itself."""
        rows = x.movedim(1, -1)
        rows = functional.layer_norm(rows, rows.shape[-1:], self.weight, self.bias, self.epsilon)
        return rows.movedim(-1, 1)


class ReLU(nn.Module):
    """Keras' rectifier with its three options: x between threshold and limit, a slope below the threshold."""

    def __init__(self, max_value: float | None, negative_slope: float, threshold: float) -> None:
        super().__init__()
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        kept = x.clamp(max=self.max_value) if self.max_value is not None else x
        return torch.where(x > self.threshold, kept, self.negative_slope * (x - self.threshold))


class PReLU(nn.Module):
    """A rectifier with a learnt slope for each value of its input, or for each channel."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return functional.relu(x) - self.weight * functional.relu(-x)


class GaussianNoise(nn.Module):
    """Normal noise of this deviation in training: added, or by which the values are multiplied, around 1."""

    def __init__(self, deviation: float, multiplies: bool) -> None:
        super().__init__()
        self.deviation, self.multiplies = deviation, multiplies

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        if not self.training:
            return x
        noise = self.deviation * torch.randn_like(x)
        return x * (1 + noise) if self.multiplies else x + noise


class Reshape(nn.Module):
    """Another shape (of Keras, channels last) of the values in Keras' order."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) or (N, values) -> (N, channels, height, width) or (N, values)."""
        return x.movedim(1, -1).reshape(len(x), *self.shape).movedim(-1, 1)


class Permute(nn.Module):
    """Another order of height (1), width (2) and channels (3), by Keras' numbers."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> its axes in that order, the channels last of Keras second again."""
        return x.movedim(1, -1).permute(0, *self.dims).movedim(-1, 1)


class Resizing(nn.Module):
    """Pixels in another size, by TensorFlow's rule: samples at the centres of pixels, no smoothing."""

    def __init__(self, size: Sequence[int], mode: str) -> None:
        super().__init__()
        self.size, self.mode = tuple(size), mode

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, height, width)."""
        return functional.interpolate(x, self.size, mode=self.mode)


class KerasRMSprop(Optimizer):
    """RMSprop as Keras 3 computes it, with epsilon inside the root.

    ``v = rho * v + (1 - rho) * g**2`` and ``p -= lr * g / sqrt(v + epsilon)``, v starting at 0
    (``keras/src/optimizers/rmsprop.py``, momentum 0, not centered). ``torch.optim.RMSprop`` adds
    epsilon outside the root, as the Keras of 2018 did; no setting of it gives this rule.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: float = 1e-3,
        rho: float = 0.9,
        epsilon: float = 1e-7,
    ) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be > 0, got {lr}")
        if not 0 <= rho < 1:
            raise ValueError(f"rho must lie in [0, 1), got {rho}")
        if not epsilon >= 0:
            raise ValueError(f"epsilon must be >= 0, got {epsilon}")
        super().__init__(params, {"lr": lr, "rho": rho, "epsilon": epsilon})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        grads = [p.grad for p in params]
        for p in params:
            if "mean_square" not in self.state[p]:
                self.state[p]["mean_square"] = torch.zeros_like(p)
        means = [self.state[p]["mean_square"] for p in params]
        # The foreach kernels run one launch per operation over all tensors, not one per tensor.
        torch._foreach_mul_(means, group["rho"])
        torch._foreach_addcmul_(means, grads, grads, value=1 - group["rho"])
        roots = torch._foreach_add(means, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(params, grads, roots, value=-group["lr"])
