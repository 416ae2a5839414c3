"""A new federation's folder."""

import datetime
import os
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from fedit_shared import adapter as adapters
from fedit_shared.errors import UserError
from fedit_shared.identity import PublicKey, SigningKey
from fedit_shared.messages import MODEL_FILE

from . import task, tls
from .adapters.publishing import adapter_key
from .config import Config, host_and_port, is_hub_id, parse_config
from .layout import Layout, write_private
from .storage.folders import make_folder, sync_folder
from .store import AdapterVersion, Database, Versions
from .summing.clipping import first_ranges
from .template import Values, render


class Wishes(NamedTuple):
    """What the operator gave on the command line. ``model``: None takes what the adapter's folder says; ``database``
    and ``blobs``: empty for SQLite and a folder."""

    adapter: Path
    model: str | None
    name: str | None
    address: str | None
    listen: str
    cohort_min: int
    cohort_target: int
    rounds: int
    certificate: Path | None
    key: Path | None
    database: str = ""
    blobs: str = ""


class Made(NamedTuple):
    """What was made. ``notes``: for the operator, one line each."""

    config: Config
    federation_key: PublicKey
    parameters: int
    notes: list[str]


def initialise(folder: Path, wishes: Wishes) -> Made:
    """Make the folder with settings, keys, certificate, database and first adapter version.

    Raises UserError for a folder that is not empty, an adapter that is none, or wishes that no settings file allows;
    then nothing is left behind.
    """
    layout = Layout(folder)
    if layout.config_file.exists():
        raise UserError(f"{folder} is a federation's folder already.", advice="Run it with `fedit-server serve`.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder.", advice="Name a new one.")
    _, data, reference = task.read_folder(wishes.adapter)
    values = _values(wishes, reference.id if reference else None, reference.revision if reference else "")
    text = render(values)
    try:
        config = parse_config(text)
    except UserError as error:  # of a file that nobody has seen yet: its lines say nothing
        raise UserError(re.sub(r"^line \d+: ", "", error.message), advice=error.advice) from error
    existed = folder.exists()
    try:
        key = _fill(layout, config, wishes, data, text)
    except BaseException:
        _remove(folder, keep=existed)
        raise
    notes = []
    if reference and reference.id != values.model:
        notes.append(f"The adapter was made for {reference.id}; make sure that it fits {values.model}.")
    if not (reference and reference.files):
        notes.append("The adapter's folder has no hashes of the base model's files: clients cannot check theirs.")
    if not is_hub_id(values.model):
        notes.append(
            f"The hub has no model named {values.model!r}: participants have to name its folder, --model-path."
        )
    if wishes.certificate is not None and values.pin:
        notes.append(
            "No authority that this machine trusts vouches for the certificate at this address: links will carry the "
            "hash of its key. Keep the key when you renew it."
        )
    if urlsplit(values.address).hostname in ("localhost", "127.0.0.1", "::1"):
        notes.append("The address is this machine's own: for others to join, set [server] address in the settings.")
    tensors, _ = adapters.read_adapter(data)
    return Made(config, key, adapters.size(tensors), notes)


def _values(wishes: Wishes, model: str | None, revision: str) -> Values:
    if wishes.model is None and model is None:
        raise UserError("The base model is not known.", advice="Name it: --model HF_ID.")
    if (wishes.certificate is None) != (wishes.key is None):
        raise UserError("A certificate and its key belong together.", advice="Give --certificate and --key.")
    try:
        _, port = host_and_port(wishes.listen)
    except ValueError:
        raise UserError(f"--listen {wishes.listen!r} has not the form HOST:PORT.") from None
    address = (wishes.address or f"https://localhost:{port}").rstrip("/")
    trusted, given = False, wishes.certificate is not None and wishes.key is not None
    if wishes.certificate is not None and wishes.key is not None:
        trusted = tls.is_trusted(wishes.certificate, wishes.key, urlsplit(address).hostname or "localhost")
    chosen = wishes.model or model or ""
    return Values(
        name=wishes.name or f"{chosen.rstrip('/').rsplit('/', 1)[-1]} federation",
        rounds=wishes.rounds,
        address=address,
        listen=wishes.listen,
        certificate=str(wishes.certificate.resolve()) if given and wishes.certificate else "tls/certificate.pem",
        key=str(wishes.key.resolve()) if given and wishes.key else "tls/key.pem",
        pin=not trusted,
        model=chosen,
        revision=revision if chosen == model else "",
        cohort_min=wishes.cohort_min,
        cohort_target=wishes.cohort_target,
        database=wishes.database,
        blobs=wishes.blobs,
    )


def _fill(layout: Layout, config: Config, wishes: Wishes, data: bytes, text: str) -> PublicKey:
    make_folder(layout.folder)
    key = SigningKey(os.urandom(32))
    write_private(layout.federation_key, key.seed().hex().encode() + b"\n")
    if wishes.certificate is None:
        now = datetime.datetime.now(datetime.UTC)
        certificate, private = tls.self_signed(config.server.address, now)
        write_private(layout.path(config.server.certificate), certificate)
        write_private(layout.path(config.server.key), private)
    layout.adapter.mkdir(mode=0o700)
    for name in (adapters.CONFIG_NAME, MODEL_FILE):
        if (wishes.adapter / name).exists():
            write_private(layout.adapter / name, (wishes.adapter / name).read_bytes())
    write_private(layout.adapter / adapters.FILE_NAME, data)
    version = adapters.version(data)
    layout.blobs(config).write(adapter_key(version), data)
    spec = task.make_task(config, layout.adapter)
    database = Database(layout.database_url(config))
    database.migrate()
    first = AdapterVersion(
        version=0,
        adapter=version,
        parent=None,
        round=None,
        created=time.time(),
        size=len(data),
        clip=first_ranges(spec),
    )
    with database.begin() as connection:
        if Versions().all(connection):
            raise UserError("This database has a federation already.", advice="Name one that is empty.")
        Versions().add(connection, first)
    database.close()
    write_private(layout.config_file, text.encode())
    sync_folder(layout.folder)
    return key.public


def _remove(folder: Path, *, keep: bool) -> None:
    if keep:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
