"""Features of a frozen backbone, kept for pixels that come again unchanged."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor


class FeatureCache:
    """Keeps what a backbone answered, up to a limit; beyond it, computes anew.

    Validation photographs come in the same batches in every epoch, without augmentation, so a frozen
    backbone answers the same each time: one pass a run instead of one an epoch, bit for bit. Training
    photographs come in other batches each time, and so their features are kept one by one.

    Args:
        limit: bytes that the features may take; the workshop's 2,000 validation photographs take 66 MB.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget everything, as when other photographs or other weights come."""
        self._features: dict[Hashable, Tensor] = {}
        self._bytes = 0

    def batch(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The features of a batch that always holds the same samples.

        Args:
            key: the batch, such as its place in the epoch.
            compute: gives the features, when they are not kept.
        """
        if key not in self._features:
            return self._keep([key], compute().unsqueeze(0))[0]
        return self._features[key]

    def samples(self, keys: Sequence[Hashable], compute: Callable[[], Tensor]) -> Tensor:
        """The features of a batch whose samples may have come in other batches before.

        Args:
            keys: one for each sample.
            compute: gives the features (N, ...) of the whole batch, when one of them is not kept.
        """
        if all(key in self._features for key in keys):
            return torch.stack([self._features[key] for key in keys])
        return self._keep(keys, compute())

    def _keep(self, keys: Sequence[Hashable], features: Tensor) -> Tensor:
        """Keep what is new and fits, one slice for each key."""
        new = [i for i, key in enumerate(keys) if key not in self._features]
        size = features[0].nbytes * len(new)
        if self._bytes + size <= self.limit:
            self._features.update({keys[i]: features[i] for i in new})
            self._bytes += size
        return features
