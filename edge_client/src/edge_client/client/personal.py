"""This device's own adapter: a published one, with the tensors in it that the strategy keeps on the device."""

from pathlib import Path

import numpy as np

from edge_client.disk import disk_errors, require_new
from edge_client.state import CorruptStateError, FederationState
from fedit_shared import adapter
from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import TaskSpec
from fedit_shared.strategies import Role

from .folders import agreed_task, write_folder


def write_personal(state: FederationState, published: Path | None, out: Path) -> TaskSpec:
    """Write a PEFT folder; the task that it belongs to.

    ``published``: a published adapter's folder; None: the version that this device last trained from. Raises UserError
    where the strategy keeps nothing here, nothing was trained yet, or ``out`` is taken.
    """
    task = agreed_task(state)
    turn = task.turn(1)
    if Role.KEEP not in turn.roles:
        raise UserError(
            f"The federation's strategy, {task.strategy}, keeps nothing on this device.",
            advice="Its published adapter is everybody's: its operator has it.",
        )
    newest = state.private.newest(task)
    if newest is None:
        raise UserError("This device has trained nothing of its own yet.", advice="Take part in a round first.")
    version, own = newest
    data = _kept(state, version) if published is None else _published(published)
    try:
        manifest, vector = adapter.read_adapter(data)
        adapter.check_fits(task.tensors, manifest)
    except ProtocolError as error:
        raise UserError(
            error.message, advice="Name the folder of an adapter that this federation published."
        ) from error
    require_new(out)
    values = turn.put(vector, np.frombuffer(own, "<f4").astype(np.float32, copy=False), Role.KEEP)
    write_folder(out, task, adapter.write_adapter(task.tensors, values))
    return task


def _kept(state: FederationState, version: bytes) -> bytes:
    data = state.disk.read(state.adapter_path(version))
    if data is None or adapter.version(data) != version:
        raise CorruptStateError(
            "The adapter version that was last trained from is not here any more, or damaged.",
            advice="Name a published adapter's folder with --adapter.",
        )
    return data


def _published(folder: Path) -> bytes:
    path = folder / adapter.FILE_NAME
    if not path.is_file():
        raise UserError(
            f"{folder} is no adapter: it has no {adapter.FILE_NAME}.", advice="Name the folder of a published adapter."
        )
    with disk_errors(path):
        return path.read_bytes()
