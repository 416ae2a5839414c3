"""Held-out loss of the base model and of each published adapter, and one instruction answered by both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_client.data import Record as DataRecord
from edge_client.inference import Evaluation, InferenceProcess, Open
from fedit_shared.messages import ModelRef

from .records import Record
from .settings import Settings
from .story import Story


@dataclass(frozen=True)
class Answers:
    """One held-out instruction, what its record says, and what the two models answer."""

    instruction: str
    reference: str
    base: str
    federated: str


class Judge:
    """The model loaded once in a process of its own, asked after each round."""

    def __init__(self, settings: Settings, model: str, records: Sequence[Record], story: Story) -> None:
        self._settings = settings
        self._records = [
            DataRecord(
                instruction=r["instruction"], context=r["context"], response=r["response"], category=r["category"]
            )
            for r in records
        ]
        self._examples = list(records)
        self._story = story
        folder = model if Path(model).is_dir() else None
        self.process = InferenceProcess(
            Open(
                model=ModelRef(id=model),
                model_folder=folder,
                adapter_config=(settings.adapter / "adapter_config.json").read_text(encoding="utf-8"),
            )
        )

    async def loss(self, adapter: Path | None) -> Evaluation:
        """Mean loss per response token, over all records and by category."""
        result = await self.process.evaluate(adapter, self._records, max_length=self._settings.max_length)
        self._story.say(
            f"held-out loss {'of the base model' if adapter is None else 'of the federated adapter'}: {result.loss:.4f}"
        )
        return result

    async def answers(self, adapter: Path) -> Answers:
        """The shortest held-out instruction without context, answered twice."""
        record = min(self._examples, key=lambda r: (bool(r["context"]), len(r["instruction"])))
        asked = [DataRecord(instruction=record["instruction"], context=record["context"])]
        [[base], [federated]] = [await self.process.generate(a, asked, max_new_tokens=48) for a in (None, adapter)]
        return Answers(record["instruction"], record["response"], base.text, federated.text)
