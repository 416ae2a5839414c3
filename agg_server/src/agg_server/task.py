"""The task: made of the settings and the start adapter's folder, which ``init`` copied into the federation's own."""

from pathlib import Path

from fedit_shared import adapter
from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import MODEL_FILE, ModelRef, TaskSpec, read_model_file
from fedit_shared.strategies import require_fits

from .config import FILE, Config, RoundRules
from .rounds.events import Rules
from .summing.slot_size import Bits


def read_folder(folder: Path) -> tuple[str, bytes, ModelRef | None]:
    """A PEFT folder's configuration, its tensors as this project writes them, and the model that it names, if it does.

    Raises UserError for anything but a LoRA as PEFT saves it.
    """
    advice = "Make one with `fedit-client new-adapter MODEL OUT`, or save one with PEFT."
    try:
        text = adapter.read_config((folder / adapter.CONFIG_NAME).read_bytes())
        tensors, vector = adapter.read_adapter((folder / adapter.FILE_NAME).read_bytes())
        reference = folder / MODEL_FILE
        model = read_model_file(reference.read_bytes()) if reference.exists() else None
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise UserError(f"{folder} is not a PEFT adapter: it has no {missing}.", advice=advice) from None
    except (OSError, ProtocolError) as error:
        raise UserError(f"{folder} is not a PEFT adapter: {error}", advice=advice) from error
    return text, adapter.write_adapter(tensors, vector), model


def make_task(config: Config, folder: Path) -> TaskSpec:
    """The task that the settings describe, on the start adapter in ``folder``. Raises UserError for a strategy that
    this adapter is not made for."""
    text, data, reference = read_folder(folder)
    tensors, _ = adapter.read_adapter(data)
    reference = reference or ModelRef(id=config.model.id)
    revision = config.model.revision or reference.revision
    model = ModelRef(id=config.model.id, revision=revision, files=reference.files)
    strategy = config.federation.strategy
    try:
        require_fits(strategy, (tensor.name for tensor in tensors))
    except ValueError as error:
        raise UserError(
            f"The adapter cannot be trained in this way: {error}.",
            advice=f"Choose another [federation] strategy in {FILE}.",
        ) from error
    return TaskSpec(
        name=config.federation.name,
        model=model,
        adapter_config=text,
        tensors=tensors,
        training=config.training,
        strategy=strategy,
        proximal=config.federation.proximal,
        max_weight=config.round.max_weight,
    )


def make_rules(rules: RoundRules, slot_bits: Bits) -> Rules:
    """The settings of [round] that a round carries with it, and the bits of a summed value."""
    return Rules(
        cohort_min=rules.cohort_min,
        cohort_target=rules.cohort_target,
        cohort_max=rules.cohort_max,
        fraction=rules.fraction,
        train_window=float(rules.train_window),
        muster_window=float(rules.muster_window),
        contribute_window=float(rules.contribute_window),
        answer_window=float(rules.answer_window),
        answer_grace=float(rules.answer_grace),
        slot_bits=slot_bits,
        max_weight=rules.max_weight,
    )
