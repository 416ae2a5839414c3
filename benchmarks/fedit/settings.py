"""``EXPERIMENT.toml``, typed: one struct a section. A mistake is answered with its line and what is allowed there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from agg_server import toml_file
from agg_server.adapters.optimizer import ServerStep
from agg_server.config import check_step
from agg_server.toml_file import at
from edge_client.data.source import HUB, Format
from edge_client.training.job import Device
from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import TrainingSettings
from fedit_shared.messages.task import MaxWeight, Proximal
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, LAYOUTS, levels
from fedit_shared.strategies import require_known

from .partition import Partition

PRESETS = Path(__file__).parent / "presets"
_Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Data(_Section, frozen=True, kw_only=True):
    """Records to be dealt. Paths are relative to the experiment's file; a hub's data set is ``hf:OWNER/NAME``."""

    files: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1)]
    format: Format = "auto"
    fields: dict[str, str] = {}
    held_out: Annotated[int, msgspec.Meta(ge=1)] = 10
    """Records of each category that nobody trains on, for evaluation."""
    limit: _Positive | None = None
    """Deal no more records than so many, drawn by the seed."""


class Model(_Section, frozen=True, kw_only=True):
    """The base model: a hub id, or a folder relative to the experiment's file."""

    id: _Text
    revision: str = ""


class AdapterShape(_Section, frozen=True, kw_only=True):
    """LoRA's form. ``alpha``: None is twice the rank; ``modules``: None is PEFT's own choice for the architecture."""

    rank: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    alpha: _Positive | None = None
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    modules: tuple[str, ...] | None = None


class Clients(_Section, frozen=True, kw_only=True):
    """Who there is, and who takes part in a round: ``fraction`` of all, at least one."""

    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    fraction: _Share = 1.0
    selection: Literal["random", "round-robin", "availability"] = "random"
    online: _Share = 0.5
    """Share of the time that a client can be reached on average, under ``availability``."""

    @property
    def each_round(self) -> int:
        """Clients of a round."""
        return max(1, round(self.fraction * self.count))


class Federation(_Section, frozen=True, kw_only=True):
    """The rounds, and what is done with a round's updates."""

    rounds: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    strategy: str = "fedavg"
    """What of the adapter is averaged: a name in :data:`fedit_shared.strategies.STRATEGIES`, as in the server's file.
    ``fedavg``: A and B of every layer, as the paper does."""
    proximal: Proximal = 0.0
    """μ of FedProx: how strongly clients are held near the global adapter."""
    sum: Literal["masked", "quantized", "exact"] = "quantized"
    """``masked``: the whole protocol; ``quantized``: the same slots, added in the clear; ``exact``: floats."""
    slot_bits: Literal[12, 16, 24, "auto"] = "auto"
    """Of a summed value; ``auto``: as the server chooses them, from what the last mean came to."""
    max_weight: MaxWeight = 16
    """The most that a client counts for, by the records that it saw in the round / 32, rounded up: not by all that it
    holds, as in the paper, unless it sees them all; where no client sees more than 32 a round, all count the same. A
    server weighs only if its operator says so."""


class Arms(_Section, frozen=True, kw_only=True):
    """What is compared with the base model; every arm trains on as many tokens as the federated one."""

    federated: bool = True
    strategies: tuple[str, ...] = ()
    """More federations of the same clients in the same rounds, each by another strategy than [federation] names."""
    centralized: bool = True
    local: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = (0, 1, 2)
    """Clients, by number, who train alone."""


class Evaluation(_Section, frozen=True, kw_only=True):
    """When and on what arms are judged, beside what is held out."""

    every: _Positive = 1
    """Rounds from one evaluation to the next; after the last round there is one in any case."""
    file: str | None = None
    """More records for evaluation."""
    max_length: Annotated[int, msgspec.Meta(ge=8, le=2**20)] = 2048
    """Tokens that a record is cut to, whatever it is cut to in training: an answer that is cut away judges nobody."""
    personal: _Positive = 3
    """Where a strategy keeps tensors on the device: of how many clients the models are judged. They are drawn by the
    seed among those that have trained one; a record's loss is the mean over them."""
    resamples: Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] = 2000


class Machine(_Section, frozen=True, kw_only=True):
    """Where it runs. ``memory``: bytes of each worker's budget; None is what is free, shared among them; ``threads``:
    of each; None is all cores, shared. The same number of threads gives the same results to the bit, however many
    workers there are."""

    device: Device = "auto"
    threads: _Positive | None = None
    memory: _Positive | None = None
    checkpoint: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    """Seconds of work that a kill may cost."""


class Run(_Section, frozen=True, kw_only=True):
    """``seed``: decides the partition, selection, start values, order of records and rounding."""

    name: _Text
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 1


class Experiment(_Section, frozen=True, kw_only=True):
    """The whole file."""

    run: Run
    data: Data
    model: Model
    clients: Clients
    federation: Federation
    adapter: AdapterShape = AdapterShape()
    partition: Partition = Partition()
    training: TrainingSettings = TrainingSettings()
    server_step: ServerStep = ServerStep()
    arms: Arms = Arms()
    evaluation: Evaluation = Evaluation()
    machine: Machine = Machine()

    @property
    def strategies(self) -> tuple[str, ...]:
        """Each strategy that a federation is run by, [federation]'s first."""
        if not self.arms.federated:
            return ()
        return tuple(dict.fromkeys((self.federation.strategy, *self.arms.strategies)))


class Given(NamedTuple):
    """What the command line says in place of the file, relative to the working directory."""

    data: Sequence[str] | None = None
    evaluation: str | None = None
    model: str | None = None


def load_experiment(file: Path, given: Given | None = None) -> Experiment:
    """The settings in ``file``, or in the preset of that name, with paths made absolute. Raises UserError naming the
    line."""
    given = given or Given()
    names = sorted(path.stem for path in PRESETS.glob("*.toml"))
    missing = UserError(f"There is no file {file}.", advice=f"Name an EXPERIMENT.toml, or one of {', '.join(names)}.")
    preset = str(file) in names
    experiment = toml_file.load(PRESETS / f"{file}.toml" if preset else file, parse_experiment, missing)
    here = Path.cwd()
    beside = here if preset else file.absolute().parent
    data, evaluation, model = experiment.data, experiment.evaluation, experiment.model
    files = [_located(name, beside) for name in data.files]
    more = evaluation.file and _located(evaluation.file, beside)
    base = _folder(model.id, beside)
    if given.data:
        files = [_located(name, here) for name in given.data]
    if given.evaluation:
        more = _located(given.evaluation, here)
    if given.model:
        base = _folder(given.model, here)
    replace = msgspec.structs.replace
    return replace(
        experiment,
        data=replace(data, files=tuple(files)),
        evaluation=replace(evaluation, file=more),
        model=replace(model, id=base),
    )


def _folder(model: str, beside: Path) -> str:
    return str(beside / model) if (beside / model).is_dir() else model


def _located(name: str, beside: Path) -> str:
    return name if name.startswith(HUB) else str(beside / name)


def parse_experiment(text: str) -> Experiment:
    """As :func:`load_experiment`, from the file's text."""
    experiment = toml_file.parse(text, Experiment)
    _refuse_contradictions(experiment, text)
    return experiment


def _refuse_contradictions(experiment: Experiment, text: str) -> None:
    clients, federation, step = experiment.clients, experiment.federation, experiment.server_step
    if experiment.training.minutes is not None:
        raise at(text, "training", "minutes", "[training] an experiment counts steps or epochs: minutes do not repeat.")
    check_step(text, step, experiment.training)
    for section, key, names in (
        ("federation", "strategy", (federation.strategy,)),
        ("arms", "strategies", experiment.arms.strategies),
    ):
        for name in names:
            try:
                require_known(name)
            except ValueError as error:
                raise at(text, section, key, f"[{section}] {error}.") from error
    if federation.sum == "masked" and clients.each_round < COHORT_MIN:
        allowed = f"a masked sum needs at least {COHORT_MIN} clients a round, not {clients.each_round}"
        raise at(text, "federation", "sum", f'[federation] {allowed}; sum = "quantized" gives the same numbers.')
    try:
        most = max(LAYOUTS) if federation.slot_bits == "auto" else federation.slot_bits
        levels(min(clients.each_round, COHORT_MAX), most, federation.max_weight)
    except ProtocolError as error:
        raise at(text, "federation", "slot_bits", f"[federation] {error.message}") from error
    if strangers := [client for client in experiment.arms.local if client >= clients.count]:
        raise at(text, "arms", "local", f"[arms] there is no client {strangers[0]}: they count from 0.")
