"""What Keras does and PyTorch does not: its initialisers, its order of flattening, its RMSprop rule."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def glorot_uniform_(module: nn.Module) -> None:
    """Initialise every convolution and dense layer inside ``module`` as Keras does, in place.

    Kernels are uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, the default
    ``kernel_initializer`` of Conv2D and Dense), biases are zero. PyTorch's own default is between
    0.7 and 2.4 times this limit on the workshop's layers and draws the biases too.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class KerasFlatten(nn.Module):
    """Flatten in Keras' order: (N, C, H, W) -> (N, H * W * C).

    Free when the memory is already channels_last, and Keras' Dense kernels load without permuting.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, H * W * C)."""
        return x.permute(0, 2, 3, 1).flatten(1)


class KerasRescaling(nn.Module):
    """``pixels * scale + offset``, one number of each for every channel; ``bgr`` turns RGB into BGR first."""

    def __init__(self, scale: Sequence[float], offset: Sequence[float], bgr: bool = False) -> None:
        super().__init__()
        self.scale, self.offset, self.bgr = tuple(scale), tuple(offset), bgr

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape, (N, C, H, W)."""
        scale, offset = (x.new_tensor(values).view(-1, 1, 1) for values in (self.scale, self.offset))
        return (x.flip(1) if self.bgr else x) * scale + offset


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
