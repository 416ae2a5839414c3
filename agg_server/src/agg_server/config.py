"""The one settings file, ``federation.toml``, typed. A mistake is answered with its line and what is allowed there."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import TrainingSettings
from fedit_shared.messages.fields import TEXT_PATTERN
from fedit_shared.messages.task import MaxWeight, Proximal
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, LAYOUTS, levels
from fedit_shared.strategies import require_known

from . import toml_file
from .adapters.optimizer import ADAPTIVE, OPTIMIZERS, ServerStep
from .durations import Seconds
from .summing.clipping import LARGEST_RANGE, SMALLEST_RANGE, first_range
from .toml_file import at, is_given, nearest

FILE = "federation.toml"
GO_ON = "To go on, raise [federation] rounds in the settings and start `fedit-server serve` again."
_Clip = Annotated[float, msgspec.Meta(ge=SMALLEST_RANGE, le=LARGEST_RANGE)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400, pattern=TEXT_PATTERN)]
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.|\.git$))(?:\b[\w.-]+\b/)?\b[\w.-]{1,96}\b")

_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]+[a-z0-9])((?:/[\w.-]+)*/?)", re.ASCII)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Federation(_Section, frozen=True, kw_only=True):
    """Its name, how many adapter versions it is to publish (0: no end), what of the adapter is averaged, and μ of
    FedProx: how strongly devices are held near the published adapter."""

    name: _Text
    rounds: Annotated[int, msgspec.Meta(ge=0)] = 0
    strategy: str = "fedavg"
    proximal: Proximal = 0.0

    def finished(self, newest: int) -> bool:
        """Whether no round is to be opened any more, since there is this adapter version."""
        return 0 < self.rounds <= newest

    @property
    def finish(self) -> str:
        """What anybody is told then."""
        return f"The federation has finished: all {self.rounds} rounds are published."


class Server(_Section, frozen=True, kw_only=True):
    """Where it is reached, and where it keeps what. Paths are relative to the server's folder."""

    address: _Text
    listen: _Text = "0.0.0.0:8443"
    certificate: _Text = "tls/certificate.pem"
    key: _Text = "tls/key.pem"
    pin: bool = True
    database: _Text = "sqlite:///server.sqlite3"
    blobs: _Text = "blobs"
    connections: Annotated[int, msgspec.Meta(ge=16)] = 10000
    unsigned_requests: Annotated[int, msgspec.Meta(ge=1)] = 120
    device_requests: Annotated[int, msgspec.Meta(ge=60)] = 3000
    metrics: str = ""
    dashboard: bool = True
    log: Literal["text", "json"] = "text"


class Model(_Section, frozen=True, kw_only=True):
    """The base model's name: a hub's id, or that of a folder. The server never loads it."""

    id: _Text
    revision: str = ""


class RoundRules(_Section, frozen=True, kw_only=True):
    """Who takes part, how long each phase lasts, and how updates are quantized."""

    cohort_min: Annotated[int, msgspec.Meta(ge=COHORT_MIN, le=COHORT_MAX)] = COHORT_MIN
    cohort_target: Annotated[int, msgspec.Meta(ge=0)] = 0
    cohort_max: Annotated[int, msgspec.Meta(ge=COHORT_MIN, le=COHORT_MAX)] = 64
    fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    train_window: Seconds = Seconds(86400)
    muster_window: Seconds = Seconds(1800)
    contribute_window: Seconds = Seconds(1800)
    answer_window: Seconds = Seconds(43200)
    answer_grace: Seconds = Seconds(20)
    slot_bits: Literal[12, 16, 24, "auto"] = "auto"
    max_weight: MaxWeight = 1
    clip: _Clip | Literal["auto"] = "auto"


class Config(_Section, frozen=True, kw_only=True):
    """The whole file."""

    federation: Federation
    server: Server
    model: Model
    training: TrainingSettings = TrainingSettings()
    round: RoundRules = RoundRules()
    server_step: ServerStep = ServerStep()


def load_config(file: Path) -> Config:
    """The settings in ``file``. Raises UserError naming the line and what is allowed."""
    missing = UserError(
        f"{file.parent} is not a federation's folder: {file.name} is missing.",
        advice="Make one with `fedit-server init`.",
    )
    return toml_file.load(file, parse_config, missing)


def parse_config(text: str) -> Config:
    """As :func:`load_config`, from the file's text."""
    advice = "Mend the line, or start from a fresh `init`."
    config = toml_file.parse(text, Config, advice=advice, dec_hook=_duration)
    _refuse_contradictions(config, text)
    return config


def _duration(kind: type, value: object) -> Seconds:
    return Seconds.parse(value)


def _refuse_contradictions(config: Config, text: str) -> None:
    rules, training = config.round, config.training
    if sum(value is not None for value in (training.steps, training.epochs, training.minutes)) != 1:
        raise at(text, "training", None, "[training] takes exactly one of steps, epochs and minutes.")
    if rules.cohort_max < rules.cohort_min:
        raise at(text, "round", "cohort_max", "[round] cohort_max must not be below cohort_min.")
    if rules.cohort_target and rules.cohort_target < rules.cohort_min:
        raise at(text, "round", "cohort_target", "[round] cohort_target must be 0 or at least cohort_min.")
    try:
        require_known(config.federation.strategy)
    except ValueError as error:
        raise at(text, "federation", "strategy", f"[federation] {error}.") from error
    try:
        levels(rules.cohort_max, max(LAYOUTS) if rules.slot_bits == "auto" else rules.slot_bits, rules.max_weight)
    except ProtocolError as error:
        raise at(text, "round", "slot_bits", f"[round] {error.message} Lower cohort_max or max_weight.") from error
    check_step(text, config.server_step, training)
    if "://" in config.server.blobs and bucket_and_prefix(config.server.blobs) is None:
        raise at(text, "server", "blobs", "[server] blobs is a folder, or has the form s3://BUCKET/PREFIX.")
    model = config.model.id
    if not is_hub_id(model) and (set(model) & set("/\\:") or not model.strip(". ")):
        told = "is a Hugging Face id (OWNER/NAME), or the name, without its path, of a folder that participants have"
        raise at(text, "model", "id", f"[model] id {told}.")
    if not _is_address(config.server.address):
        raise at(text, "server", "address", "[server] address has the form https://HOST:PORT, without a path.")
    for key, value in (("listen", config.server.listen), ("metrics", config.server.metrics)):
        if value:
            try:
                host_and_port(value)
            except ValueError as error:
                raise at(text, "server", key, f"[server] {key} has the form HOST:PORT.") from error


def check_step(text: str, step: ServerStep, training: TrainingSettings) -> None:
    """Raise UserError, with its line in ``text``, for a method that there is not, or that needs a learning rate of its
    own and is not given one."""
    if step.optimizer not in OPTIMIZERS:
        near = nearest(step.optimizer, OPTIMIZERS)
        raise at(text, "server_step", "optimizer", f"[server_step] there is no such optimizer{near}")
    if step.optimizer in ADAPTIVE and not is_given(text, "server_step", "learning_rate"):
        needs = f"{step.optimizer} needs a learning_rate: it is about how far a value moves in a round"
        sound = f"begin with the clip range, learning_rate times local steps in [training]: {first_range(training):.2g}"
        raise at(text, "server_step", "optimizer", f"[server_step] {needs}; {sound}.")


def bucket_and_prefix(blobs: str) -> tuple[str, str] | None:
    """``s3://BUCKET/PREFIX`` in two; None for a folder."""
    found = _BUCKET.fullmatch(blobs)
    return None if found is None else (found[1], found[2].strip("/"))


def listening(config: Config, listen: str | None, metrics: str | None) -> Config:
    """The settings with other places to listen at, where they are given. Raises UserError for what is no HOST:PORT."""
    given = {key: value for key, value in (("listen", listen), ("metrics", metrics)) if value is not None}
    for key, value in given.items():
        try:
            host_and_port(value)
        except ValueError as error:
            raise UserError(f"--{key} {value!r} has not the form HOST:PORT.") from error
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **given))


def _is_address(text: str) -> bool:
    """Whether a join link can be made of it."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    odd = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc or not text.isprintable()
    return url.scheme == "https" and bool(url.hostname) and not odd


def is_hub_id(model: str) -> bool:
    """Whether the Hugging Face hub could have a model of this name."""
    return _HUB_ID.fullmatch(model) is not None


def host_and_port(listen: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPV6]:PORT`` in two. Raises ValueError for anything else."""
    url = urlsplit(f"//{listen}")
    try:
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or port is None or url.path:
        raise ValueError(f"{listen!r} is not HOST:PORT")
    return host, port
