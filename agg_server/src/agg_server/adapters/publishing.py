"""The step from one adapter version to the next, and a version's file. Blocks: called on worker threads."""

import math
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedit_shared import adapter
from fedit_shared.messages import TaskSpec
from fedit_shared.quantize import Mean

from ..errors import CorruptError
from ..storage.hashed import load_hashed, save_hashed
from ..storage.kinds import Storage
from .blockwise import blocks
from .optimizer import OPTIMIZERS, ServerStep, State


class Published(NamedTuple):
    """A new version: SHA-256 and bytes of its file, and the L2 norm of its difference to the one before."""

    adapter: bytes
    size: int
    update_norm: float


def adapter_key(version: bytes) -> str:
    """Where an adapter's file lies among the blobs."""
    return f"adapters/{version.hex()}.safetensors"


def state_key(version: bytes, optimizer: str, strategy: str) -> str:
    """Where the state lies that an optimizer had after the step to this version. Another one, or another strategy,
    begins anew."""
    return f"adapters/{version.hex()}.{optimizer}-{strategy}"


def read_version(blobs: Storage, version: bytes) -> bytes:
    """An adapter's file. Raises CorruptError if it is gone or its hash is not its name."""
    try:
        data = blobs.read(adapter_key(version))
    except FileNotFoundError:
        raise CorruptError(f"The adapter {version.hex()} is missing.", advice="Restore it from a backup.") from None
    if sha256(data).digest() != version:
        raise CorruptError(f"The adapter {version.hex()} is damaged.", advice="Restore it from a backup.")
    return data


def combine(means: Iterable[Mean], dimension: int, total_weight: int) -> NDArray[np.float64]:
    """The mean update over all cohorts, (d,), each counting by its Σw.

    ``means`` is read once, and each let go before the next is asked for: where it makes them one by one, memory does
    not grow with their number. ``total_weight``: Σw over all of them.
    """
    update = np.zeros(dimension, np.float64)
    for mean in means:
        share = mean.total_weight / total_weight
        for part in blocks(dimension):
            update[part] += share * mean.delta[part]
        del mean  # else it would be kept while the next one is made
    return update


def publish(
    blobs: Storage, task: TaskSpec, round: int, base: bytes, update: NDArray[np.float64], settings: ServerStep
) -> Published:
    """Take round ``round``'s step from the version ``base`` and store what comes out, the optimizer's state first.

    ``update``: of the tensors that the round sums. The others do not move, nor does the optimizer's state of them: each
    turn of a strategy has one of its own. Takes, beside ``update``, up to 12 bytes a value, three times the vector in
    float32, and 4 more for each vector of the optimizer's state; where tensors rest, up to as much again for copies.
    """
    tensors, vector = adapter.read_adapter(read_version(blobs, base))
    adapter.check_fits(task.tensors, tensors)
    turn, optimizer = task.turn(round), OPTIMIZERS[settings.optimizer](settings)
    kept = _read_state(blobs, base, settings, task.strategy)
    mark = f".{turn.number}"
    own = {name.removesuffix(mark): values for name, values in kept.items() if name.endswith(mark)}
    stepped, state = optimizer.step(turn.take(vector), update, own)
    following = turn.put(vector, stepped)
    data = adapter.write_adapter(task.tensors, following)
    version = adapter.version(data)
    if state:
        marked = {name + mark: values for name, values in state.items()}
        blobs.write(state_key(version, settings.optimizer, task.strategy), save_hashed(dict(kept) | marked))
    blobs.write(adapter_key(version), data)
    return Published(version, len(data), _distance(following, vector))


def _read_state(blobs: Storage, base: bytes, settings: ServerStep, strategy: str) -> State:
    try:
        return load_hashed(blobs.read(state_key(base, settings.optimizer, strategy)))
    except FileNotFoundError:
        return {}
    except CorruptError:
        raise CorruptError(
            f"The state of {settings.optimizer} beside the adapter {base.hex()} is damaged.",
            advice="Restore it from a backup, or delete it: the optimizer then begins anew.",
        ) from None


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    squares = 0.0
    for part in blocks(a.size):
        moved = a[part].astype(np.float64) - b[part]
        squares += float(moved @ moved)
    return math.sqrt(squares)
