"""Features of a frozen backbone, kept for batches that come again unchanged."""

from collections.abc import Callable

from torch import Tensor


class FeatureCache:
    """Keeps what a backbone answered to each batch, up to a limit; beyond it, computes anew.

    Validation photographs come in the same batches in every epoch, without augmentation, so a frozen
    backbone answers the same each time: one pass a run instead of one an epoch, bit for bit.

    Args:
        limit: bytes that the features may take; the workshop's 2,000 validation photographs take 66 MB.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget everything, as when other photographs or other weights come."""
        self._features: dict[int, Tensor] = {}
        self._bytes = 0

    def get(self, batch_idx: int, compute: Callable[[], Tensor]) -> Tensor:
        """The features of a batch.

        Args:
            batch_idx: the batch's place in the epoch.
            compute: gives the features, when they are not kept.
        """
        if batch_idx in self._features:
            return self._features[batch_idx]
        features = compute()
        if self._bytes + features.nbytes <= self.limit:
            self._features[batch_idx] = features
            self._bytes += features.nbytes
        return features
