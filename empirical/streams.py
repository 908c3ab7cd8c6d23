"""Training data larger than memory: `SampleStream` gives batches of exact subsets and mixtures over indexed shards.

Which samples a run sees and in which order follows from seeds alone: batch k of epoch e is the same whether the epoch
was read from its start or resumed at step k, with any number of workers. Decoding runs in threads or in spawned
processes. A sample that cannot be read is replaced by another one of the same draw, so shares stay what was asked;
`stream.account()` says what was seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, SupportsIndex

import numpy as np
from jaxtyping import Integer, UInt8

from empirical.errors import DataError, StudyError
from empirical.indexed_reader import DecodedBatch, decode_batch
from empirical.interruption import leave_stopping_to_parent
from empirical.plan import Draw, Shares
from empirical.shard_index import Location, ShardIndex
from empirical.stream_account import SourceAccount, StreamAccount
from empirical.stream_order import chunked_shuffle, drawn_rows, later_occurrences, mixture_draws, seeded_order
from empirical.workers import WorkerPool, limit_threads

_STAND_INS = 100  # samples tried in place of an unreadable one before its source counts as unusable
_BATCHES_AHEAD = 2  # per worker


def _start_decoder() -> None:
    limit_threads(1)
    leave_stopping_to_parent()


@dataclass(frozen=True)
class Batch:
    """images uint8 (b, 3, S, S), b captions, and the positions (b,) in the stream's samples at which they stand."""

    images: UInt8[np.ndarray, "b 3 size size"]
    captions: list[str]
    positions: Integer[np.ndarray, " b"]


class SampleStream:
    """Batches of the drawn samples, epoch by epoch.

    Args:
        indices: the index of each source.
        draws: which samples of which source make up an epoch (`plan.Draw` positions in `seeded_order`).
        image_size: images are decoded to this size, as `shards.decode_image` does.
        batch_size: samples per batch of all processes; the last, incomplete batch of an epoch is dropped.
        seed: of the order within each epoch.
        source_seed: of the order that gives the draws their meaning: the same for all runs of a study.
        requested: the shares that were asked for, where draws rounded them to whole samples.
        workers: how many decode at once; 0 decodes in the calling thread when the batch is asked for.
        worker_kind: "threads" suit photographs (PIL decodes outside Python's lock), "processes" small images.
        repeat: whether a draw may go on from the start of a source that has too few samples.
        chunk: 1 shuffles sample by sample. More: that many neighbours on disk stay together while runs of them are
            shuffled, and samples are mixed within 64 such runs; for disks that are slow to seek.
        share: this process's rows of every batch (`World.share(batch_size)`); all of them by default.

    Raises:
        StudyError: unknown sources, a draw beyond the end of its source, or fewer samples than one batch.
    """

    def __init__(
        self,
        indices: Mapping[str, ShardIndex],
        draws: Sequence[Draw],
        *,
        image_size: int,
        batch_size: int,
        seed: int,
        source_seed: int = 0,
        requested: Mapping[str, float] | None = None,
        workers: int = 0,
        worker_kind: Literal["threads", "processes"] = "threads",
        repeat: bool = False,
        chunk: int = 1,
        share: slice | None = None,
    ) -> None:
        self.draws, self.image_size, self.batch_size, self.seed = tuple(draws), image_size, batch_size, seed
        self.workers, self.worker_kind, self.chunk = workers, worker_kind, chunk
        self.share = share or slice(0, batch_size)
        self._pool: Executor | None = None
        self.sources = tuple(dict.fromkeys(draw.source for draw in self.draws))
        if unknown := [source for source in self.sources if source not in indices]:
            raise StudyError(f"a draw names the source {unknown[0]!r}; there are {', '.join(indices)}")
        self.indices = [indices[source] for source in self.sources]
        for name, value in (("batch_size", batch_size), ("chunk", chunk), ("image_size", image_size)):
            if value < 1:
                raise StudyError(f"{name} is {value}; it must be at least 1")
        orders = {
            source: seeded_order(source, len(index), source_seed)
            for source, index in zip(self.sources, self.indices, strict=True)
        }
        rows = [drawn_rows(draw, orders[draw.source], repeat) for draw in self.draws]
        self.rows = np.concatenate([np.empty(0, np.int64), *rows])
        counts = [draw.count for draw in self.draws]
        self.source_of = np.repeat([self.sources.index(draw.source) for draw in self.draws], counts)
        self.draw_of = np.repeat(np.arange(len(self.draws)), counts)
        self.first_of_draw = np.cumsum([0, *counts])[:-1]
        if len(self) < batch_size:
            raise StudyError(
                f"{len(self)} samples are drawn, fewer than one batch of {batch_size}: lower the batch size"
            )
        self.steps_per_epoch = len(self) // batch_size
        self.repeated = later_occurrences(self.source_of, self.rows)
        self._account = StreamAccount(
            [
                SourceAccount(
                    source=source,
                    requested=(requested or {}).get(source, count / len(self)),
                    samples=count,
                    distinct=count - int(self.repeated[self.source_of == number].sum()),
                    skipped_in_index=dict(self.indices[number].account.skipped),
                )
                for number, source in enumerate(self.sources)
                for count in [int((self.source_of == number).sum())]
            ]
        )

    @classmethod
    def mixture(
        cls, indices: Mapping[str, ShardIndex], shares: Shares, total: int, **options: Any
    ) -> SampleStream:
        """The stream of `total` samples with these shares; options as for the class."""
        return cls(indices, mixture_draws(shares, total), requested=dict(shares), **options)

    def __len__(self) -> int:
        return len(self.rows)

    def __enter__(self) -> SampleStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; the stream may be used again."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def key(self, position: SupportsIndex) -> str:
        """Key of the sample that a position stands for (an unreadable one is replaced only when it is read)."""
        return self.indices[int(self.source_of[position])].key(int(self.rows[position]))

    def epoch_order(self, epoch: int) -> Integer[np.ndarray, "steps batch"]:
        """Positions of an epoch's samples, batch by batch."""
        generator = np.random.default_rng([self.seed, epoch])
        if self.chunk == 1:
            order = generator.permutation(len(self))
        else:
            order = chunked_shuffle(np.lexsort((self.rows, self.source_of)), self.chunk, generator)
        return order[: self.steps_per_epoch * self.batch_size].reshape(self.steps_per_epoch, self.batch_size)

    def batches(
        self, epoch: int, start_step: int = 0, order: Integer[np.ndarray, "steps batch"] | None = None
    ) -> Iterator[Batch]:
        """Batches of one epoch from `start_step` on, this process's share of each.

        Args:
            order: positions in the stream's samples for a loop that draws its own order; default `epoch_order(epoch)`.
        Raises:
            DataError: a shard is gone, or a source has hardly a sample that can be read.
        StudyError: a worker process died.
        """
        order = self.epoch_order(epoch) if order is None else order
        steps = iter(order[start_step:, self.share])
        ahead: deque[tuple[np.ndarray, Future[DecodedBatch]]] = deque()
        submit = self._submit()
        try:
            while True:
                while (
                    len(ahead) < max(1, _BATCHES_AHEAD * self.workers)
                    and (chosen := next(steps, None)) is not None
                ):
                    ahead.append((chosen, submit(chosen)))
                if not ahead:
                    return
                chosen, future = ahead.popleft()
                yield self._deliver(chosen, future.result())
        except BrokenProcessPool as error:
            self.close()
            raise StudyError(
                "a decoding worker died (killed, or out of memory): use fewer workers or smaller batches"
            ) from error
        finally:
            for _, future in ahead:
                future.cancel()

    def account(self) -> dict[str, Any]:
        """What was asked and what the delivered batches held, ready for a record: see `StreamAccount.summary`."""
        return self._account.summary()

    def state(self) -> dict[str, Any]:
        """The account so far, to be kept in a checkpoint beside the epoch and the step; plain JSON values."""
        return self._account.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue the account of a checkpoint. Raises: StudyError when it is that of another stream."""
        self._account.restore(state)

    # ------------------------------------------------------------ reading

    def _submit(self) -> Callable[[np.ndarray], Future[DecodedBatch]]:
        if self.workers and self._pool is None:
            if self.worker_kind == "processes":
                self._pool = WorkerPool(self.workers, _start_decoder)
            else:
                self._pool = ThreadPoolExecutor(self.workers, "decode")
        pool = self._pool

        def submit(positions: np.ndarray) -> Future[DecodedBatch]:
            locations = [self._locate(position) for position in positions.tolist()]
            if pool is not None:
                return pool.submit(decode_batch, locations, self.image_size)
            future: Future[DecodedBatch] = Future()
            future.set_result(decode_batch(locations, self.image_size))
            return future

        return submit

    def _locate(self, position: int) -> Location:
        return self.indices[self.source_of[position]].locate(int(self.rows[position]))

    def _deliver(self, positions: np.ndarray, decoded: DecodedBatch) -> Batch:
        images, captions, failures = decoded
        for at, reason in failures:
            position = int(positions[at])
            images[at], captions[at] = self._stand_in(position, reason)
        counts = np.bincount(self.source_of[positions], minlength=len(self.sources))
        repeats = np.bincount(
            self.source_of[positions[self.repeated[positions]]], minlength=len(self.sources)
        )
        self._account.delivered(counts.tolist(), repeats.tolist())
        return Batch(images, captions, positions)

    def _stand_in(self, position: int, reason: str) -> tuple[np.ndarray, str]:
        """Image and caption of another sample of the same draw; which one depends on the position and the seed only."""
        draw = int(self.draw_of[position])
        source, first = int(self.source_of[position]), int(self.first_of_draw[draw])
        self._account.unreadable(source, int(self.rows[position]), reason, self._locate(position))
        generator = np.random.default_rng([self.seed, position, 1])
        for _ in range(_STAND_INS):
            other = first + int(generator.integers(self.draws[draw].count))
            images, captions, failures = decode_batch([self._locate(other)], self.image_size)
            if not failures:
                self._account.replaced(source)
                return images[0], captions[0]
        raise DataError(
            f"source {self.sources[source]}: none of {_STAND_INS} samples can be read ({reason}: "
            f"{self.key(position)}); check its shards, or filter its index"
        )
