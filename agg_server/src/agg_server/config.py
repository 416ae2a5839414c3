"""The one settings file, ``federation.toml``, typed. A mistake is answered with its line and what is allowed there."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import urlsplit

import msgspec

from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import TrainingSettings
from fedit_shared.messages.fields import TEXT_PATTERN
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, levels

from .clipping import LARGEST_RANGE, SMALLEST_RANGE
from .durations import Seconds
from .optimizer import OPTIMIZERS, ServerStep

FILE = "federation.toml"
GO_ON = "To go on, raise [federation] rounds in the settings and start `fedit-server serve` again."
_Clip = Annotated[float, msgspec.Meta(ge=SMALLEST_RANGE, le=LARGEST_RANGE)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400, pattern=TEXT_PATTERN)]
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.|\.git$))(?:\b[\w.-]+\b/)?\b[\w.-]{1,96}\b")


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Federation(_Section, frozen=True, kw_only=True):
    """Its name, and how many adapter versions it is to publish (0: no end)."""

    name: _Text
    rounds: Annotated[int, msgspec.Meta(ge=0)] = 0

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
    metrics: str = ""


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
    slot_bits: Literal[12, 16, 24] = 16
    max_weight: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 16
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
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{file.parent} is not a federation's folder: {file.name} is missing.",
            advice="Make one with `fedit-server init`.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from error
    try:
        return parse_config(text)
    except UserError as error:
        raise UserError(f"{file}: {error.message}", advice=error.advice) from error


def parse_config(text: str) -> Config:
    """As :func:`load_config`, from the file's text."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}.", advice="Mend the line, or start from a fresh `init`.") from error
    _refuse_unknown(tables, text)
    training = tables.get("training", {})
    if {"steps", "minutes"} & set(training):
        training.setdefault("epochs", None)
    try:
        config = msgspec.convert(tables, Config, dec_hook=_duration)
    except msgspec.ValidationError as error:
        raise _readable(str(error), text) from error
    _refuse_contradictions(config, text)
    return config


def _duration(kind: type, value: object) -> Seconds:
    return Seconds.parse(value)


def _refuse_unknown(tables: dict[str, Any], text: str) -> None:
    sections = get_type_hints(Config)
    for section, table in tables.items():
        if section not in sections or not isinstance(table, dict):
            raise _at(text, section, None, f"there is no section [{section}]{_nearest(section, sections)}")
        known = get_type_hints(sections[section])
        for key in table:
            if key not in known:
                raise _at(text, section, key, f"[{section}] has no key {key!r}{_nearest(key, known)}")


def _nearest(word: str, known: dict[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}."


def _readable(message: str, text: str) -> UserError:
    what, _, place = message.partition(" - at `$.")
    section, _, key = place.rstrip("`").partition(".")
    key = key.split("[")[0]
    missing = re.match(r"Object missing required field `(\w+)`", what)
    if missing:
        return UserError(f"[{section}] needs {missing[1]}." if section else f"the section [{missing[1]}] is missing.")
    if "regex" in what:
        what = "expected a line without control characters"
    return _at(text, section, key, f"[{section}] {key}: {what.replace('`', '').lower()}.")


def _refuse_contradictions(config: Config, text: str) -> None:
    rules, training = config.round, config.training
    if sum(value is not None for value in (training.steps, training.epochs, training.minutes)) != 1:
        raise _at(text, "training", None, "[training] takes exactly one of steps, epochs and minutes.")
    if rules.cohort_max < rules.cohort_min:
        raise _at(text, "round", "cohort_max", "[round] cohort_max must not be below cohort_min.")
    if rules.cohort_target and rules.cohort_target < rules.cohort_min:
        raise _at(text, "round", "cohort_target", "[round] cohort_target must be 0 or at least cohort_min.")
    try:
        levels(rules.cohort_max, rules.slot_bits, rules.max_weight)
    except ProtocolError as error:
        raise _at(text, "round", "slot_bits", f"[round] {error.message} Lower cohort_max or max_weight.") from error
    if config.server_step.optimizer not in OPTIMIZERS:
        near = _nearest(config.server_step.optimizer, dict.fromkeys(OPTIMIZERS))
        raise _at(text, "server_step", "optimizer", f"[server_step] there is no such optimizer{near}")
    model = config.model.id
    if not is_hub_id(model) and (set(model) & set("/\\:") or not model.strip(". ")):
        told = "is a Hugging Face id (OWNER/NAME), or the name, without its path, of a folder that participants have"
        raise _at(text, "model", "id", f"[model] id {told}.")
    address = urlsplit(config.server.address)
    if address.scheme != "https" or not address.hostname or address.path.strip("/"):
        raise _at(text, "server", "address", "[server] address has the form https://HOST:PORT, without a path.")
    for key, value in (("listen", config.server.listen), ("metrics", config.server.metrics)):
        if value:
            try:
                host_and_port(value)
            except ValueError as error:
                raise _at(text, "server", key, f"[server] {key} has the form HOST:PORT.") from error


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


def _at(text: str, section: str, key: str | None, message: str) -> UserError:
    line = _line(text, section, key)
    return UserError(f"line {line}: {message}" if line else message)


def _line(text: str, section: str, key: str | None) -> int | None:
    """The line, from 1, on which a section or its key stands; None if it was not written that plainly."""
    current, found = "", None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        if header:
            current = header[1]
            if current == section:
                found = number
                if key is None:
                    return number
        elif key and current == section and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
            return number
    return found
