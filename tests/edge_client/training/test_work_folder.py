"""What a job leaves on disk."""

import tracemalloc
from pathlib import Path

import numpy as np

from edge_client.training.work_folder import Checkpoint, Position, WorkFolder


def test_a_checkpoint_is_written_and_read_with_no_memory_but_one_vectors(tmp_path: Path) -> None:
    """Where it is written, the budget may be used up."""
    size = 2**20
    folder = WorkFolder(str(tmp_path), bytes(32))
    names = ("adapter", "gradient", "mean", "square")
    vectors = {name: np.full(size, place, np.float32) for place, name in enumerate(names)}
    tracemalloc.start()
    folder.save(Checkpoint(Position(step=3), vectors))
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    found = folder.checkpoint(size)
    assert found is not None
    assert found.position.step == 3
    for name, vector in vectors.items():
        assert (found.vectors[name] == vector).all()
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written < size
    assert read < 4 * size + 2 * size + written  # a vector, what compares it, and what was there
