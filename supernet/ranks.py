"""The processes that train one supernet together: what they add up, what they wait for, and who is missing.

Every process (a *rank*, numbered from 0) trains the same architectures on its part of each batch. Their gradients
are added up once a step, as one flat tensor: parameters that no lesson used have none and are left out, which
`DistributedDataParallel` cannot do. What is small goes through a second group, on the CPU and before the
gradients: a rank that died is noticed there at once, by its closed connection, whatever carries the gradients.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed as dist

from supernet.errors import ConfigError, StateError
from supernet.seeds import derive

PATIENCE = timedelta(hours=1)
"""How long ranks wait for one that lives: for the first while it looks at the search split, say."""
NOTICED_S = 5.0
"""Seconds in which the connections of a rank that died are all closed."""


def _gloo() -> dist.ProcessGroup | None:
    """A group of all ranks beside that of the gradients."""
    found = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(found, dist.ProcessGroup), "every rank belongs to it"
    return found


class Ranks:
    """The processes of a training; this class is one process alone, for which nothing is to do.

    Args:
        rank: number of this process.
        count: of processes.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def leads(self) -> bool:
        """Whether this one writes, logs and evaluates for all."""
        return self.rank == 0

    def device(self, asked: torch.device) -> torch.device:
        """Where this rank trains: on a machine with several devices of a kind, on one of its own."""
        return asked

    def pieces(self, batch_size: int, accumulate: int, there: int) -> list[tuple[int, int]]:
        """Which pieces of every batch this rank learns from: ``(i, n)`` is the ``i``-th of ``n``.

        Args:
            batch_size: examples of a step, over all ranks.
            accumulate: pieces of each rank.
            there: examples of the train split.

        Raises:
            ConfigError: when the batch is larger than the split, or does not come out even.
        """
        count = self.count * accumulate
        if batch_size % count:
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared evenly by {self.count} x {accumulate} (processes x "
                f"train.accumulate); make train.batch_size a multiple of {count}"
            )
        if there < count:
            raise ConfigError(f"the train split holds {there} examples, and a step has {count} micro-batches")
        if there < batch_size:
            raise ConfigError(
                f"train.batch_size is {batch_size}, and the train split holds {there} examples; "
                f"make it {there // count * count} or less"
            )
        return [(self.rank * accumulate + i, count) for i in range(accumulate)]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all ranks into tensors that every rank has, in the same order."""

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """The sums of some numbers over all ranks."""
        return list(numbers)

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give every rank the values that the first one has."""

    def told(self, say: Callable[[], Any]) -> Any:
        """What the first one says, a JSON value; the others do not come to word."""
        return say()

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Check that all ranks say the same of the training.

        Raises:
            StateError: naming a fact and a rank that does not.
        """

    def wait(self) -> None:
        """Until all ranks have come this far."""

    def leave(self) -> None:
        """Tell the others that this rank ends here, for a reason of its own or because another one did."""


ALONE = Ranks()


class Together(Ranks):
    """Those of `torch.distributed`, which is initialised; every method is called by all of them in the same order.

    A rank that died ends each of them with a `StateError` that names it.
    """

    def __init__(self) -> None:
        super().__init__(dist.get_rank(), dist.get_world_size())
        self._small = _gloo()
        self._farewells = _gloo()
        others = [rank for rank in range(self.count) if rank != self.rank]
        self._heard = {rank: torch.zeros(1, dtype=torch.int64) for rank in others}
        self._hears = {rank: dist.irecv(heard, rank, self._farewells) for rank, heard in self._heard.items()}
        self._knocks: list[Any] = []
        self._blamed: set[int] = set()

    def device(self, asked: torch.device) -> torch.device:
        """By the number of this rank on its machine, where only a kind of device was asked for."""
        if asked.type == "cpu" or asked.index is not None:
            return asked
        return torch.device(asked.type, int(os.environ.get("LOCAL_RANK", self.rank)))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """As one flat tensor for each type."""
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            some = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            with self._naming():
                dist.all_reduce(flat)
            for tensor, part in zip(some, flat.split([tensor.numel() for tensor in some])):  # type: ignore[no-untyped-call]
                tensor.copy_(part.view_as(tensor))

    def totals(self, numbers: Sequence[float]) -> list[float]:
        """In double precision."""
        summed = torch.tensor(numbers, dtype=torch.float64)
        with self._naming():
            dist.all_reduce(summed, group=self._small)
        found: list[float] = summed.tolist()
        return found

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """One after the other."""
        for tensor in tensors:
            whole = tensor.contiguous()
            with self._naming():
                dist.broadcast(whole, 0)
            tensor.copy_(whole)

    def told(self, say: Callable[[], Any]) -> Any:
        """Its length first, then its bytes."""
        said = json.dumps(say()).encode() if self.leads else b""
        length = torch.tensor([len(said)])
        with self._naming():
            dist.broadcast(length, 0, self._small)
            text = torch.frombuffer(bytearray(said) or bytearray(int(length)), dtype=torch.uint8)
            dist.broadcast(text, 0, self._small)
        return json.loads(bytes(text.tolist()))

    def agree(self, facts: Mapping[str, Any]) -> None:
        """By a hash of each fact."""
        for name, fact in facts.items():
            ours = torch.tensor([derive(0, repr(fact))])
            theirs = [torch.zeros_like(ours) for _ in range(self.count)]
            with self._naming():
                dist.all_gather(theirs, ours, group=self._small)
            for rank, hashed in enumerate(theirs):
                if not torch.equal(hashed, theirs[0]):
                    raise StateError(
                        f"rank {rank} was given another {name} than rank 0 (rank {self.rank}: {fact!r:.200}); "
                        f"start all {self.count} with the same options, on data and a folder that they share"
                    )

    def wait(self) -> None:
        """However long it takes the slowest, up to `PATIENCE`."""
        self.totals([])

    def leave(self) -> None:
        """With the number of the rank that is to blame: another one that died, or this one."""
        blamed = torch.tensor([min(self._blamed, default=self.rank)])
        for rank in self._heard:
            # one that is gone already need not be told
            with suppress(RuntimeError):
                dist.isend(blamed, rank, self._farewells).wait(timedelta(seconds=5))  # type: ignore[union-attr]

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._blamed = self._missing()
            raise StateError(self._explain(error)) from error

    def _missing(self) -> set[int]:
        """Who is gone without a farewell, and whom those blamed who said one."""
        given_up = time.monotonic() + NOTICED_S
        while not (closed := [rank for rank in self._heard if self._is_closed(rank)]):
            if time.monotonic() > given_up:
                return set()
            time.sleep(0.05)
        return {self._last_words(rank) for rank in closed}

    def _is_closed(self, rank: int) -> bool:
        """Whether nothing can be sent to a rank any more; what is sent here, nobody waits for."""
        try:
            self._knocks.append(dist.isend(torch.zeros(1), rank, self._farewells, tag=1))
        except RuntimeError:
            return True
        return False

    def _last_words(self, rank: int) -> int:
        """Whom a rank blamed that closed its connection; the rank itself when it said nothing."""
        try:
            self._hears[rank].wait(timedelta(seconds=1))  # type: ignore[union-attr]
        except RuntimeError:
            return rank
        return int(self._heard[rank])

    def _explain(self, error: RuntimeError) -> str:
        reason = str(error).partition("\n")[0]
        if not self._blamed:
            return f"no rank has ended, and one of {self.count} does not answer: {reason}"
        names = " and ".join(f"rank {rank}" for rank in sorted(self._blamed))
        return (
            f"{names} of {self.count} ended during the training, which cannot go on without; what was written there "
            f"last says why. Start all {self.count} again: they go on from the last checkpoint"
        )


def joined() -> Ranks:
    """The ranks that `torch.distributed` was initialised for; this process alone when it was not."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        return Together()
    return ALONE


@contextmanager
def launched(device: str) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, as its environment says; otherwise nothing happens.

    Args:
        device: where they train, which decides how gradients travel: nccl between GPUs, gloo otherwise.

    Raises:
        ConfigError: when this machine has fewer GPUs than processes that train on one of their own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device == "cuda":  # what is made without saying where shall not lie on the first GPU of all
        torch.cuda.set_device(_own_gpu())
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _own_gpu() -> int:
    """The GPU of this process, by its number on the machine."""
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        way = f"start at most {there} here (torchrun --nproc-per-node={there}), or set" if there else "set"
        raise ConfigError(
            f"train.device is 'cuda', where each process has a GPU of its own, and this machine has {there} of them "
            f"for process {number} (from 0); {way} train.device=cpu"
        )
    return number
