"""Pictures of many requests, decoded in threads and answered together; the event loop only waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from catdog_pl.io.source import ImageSource
from catdog_pl.prediction.predictor import ModelInput, Prediction, Predictor
from catdog_pl.serve.problems import ProblemError

T = TypeVar("T")

DOWNLOADS = 8
"""Threads that fetch URLs, which is waiting; threads of their own, so that slow hosts delay no upload."""


class Batcher:
    """Answers pictures with one predictor, as many at once as are waiting.

    While the model computes, pictures gather; the next batch takes what is there, so that a lone picture
    never waits for others. Runs in one event loop, between ``start`` and ``stop``.

    Args:
        predictor: decodes and answers.
        capacity: pictures that may be fetched, decoded and answered at a time, all requests together.
        observe: is told the size of each batch.
    """

    def __init__(self, predictor: Predictor, capacity: int, observe: Callable[[int], object]) -> None:
        self.predictor = predictor
        self.capacity = capacity
        self.load = 0
        self._remote_load = 0
        self._observe = observe
        self._decoders = ThreadPoolExecutor(predictor.workers, "decode")
        self._downloads = ThreadPoolExecutor(DOWNLOADS, "download")
        self._model = ThreadPoolExecutor(1, "model")
        self._waiting: deque[tuple[ModelInput, asyncio.Future[Prediction]]] = deque()
        self._arrived = asyncio.Event()

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._task = asyncio.create_task(self._answer_batches())

    def stop(self) -> None:
        """Stop; what still waits is never answered."""
        self._task.cancel()
        for pool in (self._decoders, self._downloads, self._model):
            pool.shutdown(wait=False, cancel_futures=True)

    def check_room(self, count: int = 1, are_remote: bool = False) -> None:
        """Raise a `ProblemError` where there is no room for so many pictures more: 503, or never, 413.

        Those of URLs have half of it, so that hosts that answer slowly leave room for what is sent.
        """
        if count > self.capacity:
            raise ProblemError(413, f"{count} pictures at a time; this server takes up to {self.capacity}")
        is_full = self.load + count > self.capacity
        if is_full or (are_remote and self._remote_load + count > (self.capacity + 1) // 2):
            raise ProblemError(503, "too many pictures are waiting; try again in a second", retry_after=1)

    @contextmanager
    def room(self, count: int, are_remote: bool) -> Iterator[None]:
        """Count so many pictures as in work while the block runs; raise as `check_room` does."""
        self.check_room(count, are_remote)
        self.load += count
        self._remote_load += are_remote * count
        try:
            yield
        finally:
            self.load -= count
            self._remote_load -= are_remote * count

    async def answer(self, sources: Sequence[ImageSource], are_remote: bool = False) -> list[Prediction]:
        """Return one prediction for each picture, in order.

        Raises:
            ProblemError: 503, there is no room for so many.
            CatDogError: the device has no memory for a batch.
        """
        try:
            with self.room(len(sources), are_remote):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._answer_one(source, are_remote)) for source in sources]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def compute(self, function: Callable[[], T]) -> T:
        """Return what a function gives that uses the model; it runs where no batch is computed meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._model, function)

    async def read(self, source: ImageSource, reader: Predictor, is_remote: bool) -> ModelInput | Prediction:
        """Return what a predictor reads of a picture."""
        pool = self._downloads if is_remote else self._decoders
        return await asyncio.get_running_loop().run_in_executor(pool, reader.read, source)

    async def _answer_one(self, source: ImageSource, is_remote: bool) -> Prediction:
        picture = await self.read(source, self.predictor, is_remote)
        if isinstance(picture, Prediction):
            return picture
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.append((picture, answer))
        self._arrived.set()
        return await answer

    async def _answer_batches(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                continue
            self._observe(len(batch))
            try:
                answers = await self.compute(partial(self.predictor.answer, [one for one, _ in batch]))
            except Exception as error:  # a request's, not the server's end
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), prediction in zip(batch, answers, strict=True):
                if not future.done():  # its request was given up meanwhile
                    future.set_result(prediction)

    def _next_batch(self) -> list[tuple[ModelInput, "asyncio.Future[Prediction]"]]:
        """Take what waits, up to a batch, without what nobody waits for any more."""
        batch: list[tuple[ModelInput, asyncio.Future[Prediction]]] = []
        while self._waiting and len(batch) < self.predictor.batch_size:
            given = self._waiting.popleft()
            if not given[1].done():
                batch.append(given)
        return batch
