"""The step from one adapter version to the next, and a version's file. Blocks: called on worker threads."""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedit_shared import adapter
from fedit_shared.errors import FeditError
from fedit_shared.messages import TaskSpec
from fedit_shared.quantize import Mean

from .blobs import Blobs
from .optimizer import OPTIMIZERS


class CorruptError(FeditError):
    """A file on the server's own disk is not what it was when it was written."""


class Published(NamedTuple):
    """A new version: SHA-256 and bytes of its file, and the L2 norm of what changed."""

    adapter: bytes
    size: int
    update_norm: float


def adapter_key(version: bytes) -> str:
    """Where an adapter's file lies among the blobs."""
    return f"adapters/{version.hex()}.safetensors"


def read_version(blobs: Blobs, version: bytes) -> bytes:
    """An adapter's file. Raises CorruptError if it is gone or its hash is not its name."""
    try:
        data = blobs.read(adapter_key(version))
    except FileNotFoundError:
        raise CorruptError(f"The adapter {version.hex()} is missing.", advice="Restore it from a backup.") from None
    if sha256(data).digest() != version:
        raise CorruptError(f"The adapter {version.hex()} is damaged.", advice="Restore it from a backup.")
    return data


def combine(means: list[Mean]) -> NDArray[np.float64]:
    """The mean update over all cohorts, (d,), each counting by its Σw."""
    total = sum(mean.total_weight for mean in means)
    update = np.zeros(means[0].delta.shape, np.float64)
    for mean in means:
        update += (mean.total_weight / total) * mean.delta
    return update


def publish(
    blobs: Blobs, task: TaskSpec, base: bytes, update: NDArray[np.float64], optimizer: str, learning_rate: float
) -> Published:
    """Take the server's step from the version ``base`` and store what comes out."""
    tensors, vector = adapter.read_adapter(read_version(blobs, base))
    adapter.check_fits(task.tensors, tensors)
    following, _ = OPTIMIZERS[optimizer].step(vector, update, {}, learning_rate)
    data = adapter.write_adapter(task.tensors, following)
    version = adapter.version(data)
    blobs.write(adapter_key(version), data)
    return Published(version, len(data), float(np.linalg.norm(following.astype(np.float64) - vector)))
