"""A conversation with one model, with and without adapters: each arm has heard its own answers."""

from collections.abc import Callable, Sequence

from edge_client.data.source import Record, Turn

from .client import InferenceProcess
from .protocol import Generated


class Conversation:
    """What was said so far, arm by arm. ``arms``: a name, and an adapter's folder or None for the base alone."""

    def __init__(self, arms: Sequence[tuple[str, str | None]]) -> None:
        self.arms = tuple(arms)
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        self._earlier: dict[str, tuple[Turn, ...]] = {name: () for name, _ in self.arms}

    async def ask(
        self,
        model: InferenceProcess,
        arm: str,
        instruction: str,
        told: Callable[[str], None],
        *,
        max_new_tokens: int,
    ) -> Generated:
        """The arm's answer, which is part of its conversation from here on; ``told`` gets it piece by piece. One of 0
        tokens: the conversation fills the model's context, and nothing was added to it."""
        record = Record(instruction=instruction, earlier=self._earlier[arm])
        answer = await model.chat(dict(self.arms)[arm], record, told=told, max_new_tokens=max_new_tokens)
        if answer.tokens:
            said = (Turn("user", instruction), Turn("assistant", answer.text))
            self._earlier[arm] += said
        return answer
