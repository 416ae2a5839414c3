"""Adapters as the folders that PEFT and transformers load."""

from pathlib import Path

from edge_client.disk import Disk, require_new, whole_folder
from edge_client.state import FederationState
from edge_client.transport import Transport, download_adapter
from fedit_shared import adapter
from fedit_shared.errors import UserError
from fedit_shared.messages import MODEL_FILE, TaskSpec, decode_task, write_model_file

from .threads import in_thread


def agreed_task(state: FederationState) -> TaskSpec:
    """The task that this device takes part in. Raises UserError before it has seen one."""
    membership = state.membership
    if membership is None or membership.task_hash is None:
        raise UserError("This device has not been offered a task yet.", advice="Take part in a round first.")
    return decode_task(state.task(membership.task_hash))


def newest_adapter(state: FederationState) -> bytes | None:
    """The newest adapter version that this device knows of: that of the last round whose end it saw proved, else the
    one that its last update began from. None before its first round. Newer ones may have been published without it."""
    for attempt in reversed(state.attempts):
        ended = attempt.ended()
        version = attempt.mustered.adapter if ended is None else ended.adapter
        if version:
            return version
    return None


def write_folder(out: Path, task: TaskSpec, data: bytes) -> None:
    """PEFT's folder of an adapter of ``task``, whose safetensors file is ``data``. Raises DiskError."""
    disk = Disk()
    disk.make(out)
    disk.write(out / adapter.CONFIG_NAME, task.adapter_config.encode())
    disk.write(out / MODEL_FILE, write_model_file(task.model))
    disk.write(out / adapter.FILE_NAME, data)


def kept_adapter(state: FederationState) -> bytes | None:
    """The version that last came down onto this machine; None if none did."""
    folder = state.folder / "adapters"
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    for file in reversed(files):
        data = state.disk.read(file)
        if data is not None and adapter.version(data).hex() == file.stem:
            return adapter.version(data)
    return None


async def fetch_folder(state: FederationState, transport: Transport, out: Path, version: bytes | None) -> TaskSpec:
    """See :meth:`edge_client.client.Client.fetch_adapter`."""
    task = await in_thread(agreed_task, state)
    version = version or await in_thread(newest_adapter, state)
    if version is None:
        raise UserError("This device knows of no adapter yet.", advice="Take part in a round first.")
    await in_thread(require_new, out)
    with whole_folder(out) as beside:
        file = beside / adapter.FILE_NAME
        kept = await in_thread(state.disk.read, state.adapter_path(version))
        if kept is None or adapter.version(kept) != version:
            await download_adapter(transport, version, adapter.file_size(task.tensors), file, lambda here, total: None)
            kept = await in_thread(state.disk.read, file)
        assert kept is not None, "downloaded"
        await in_thread(write_folder, beside, task, kept)
    return task
