"""Rotary positions whose frequencies depend on how long a text is: transformers takes them from the longest one of a
call, and with ``dynamic`` keeps them for the next call. A record must be what it is by itself, whatever is computed
beside it or was before it."""

from collections.abc import Iterator
from typing import Any

from torch import nn


class Rope:
    """The positions of ``model``. ``reach``: up to how many tokens a text's frequencies do not depend on its length;
    None: however long it is."""

    def __init__(self, model: nn.Module) -> None:
        self._dynamic: list[tuple[Any, str]] = []
        lengths = []
        modules: list[Any] = list(model.modules())
        for module in modules:
            for kind, at in _kinds(module):
                if "dynamic" in kind:
                    self._dynamic.append((module, at))
                    lengths.append(module.original_max_seq_len)
                elif kind == "longrope":
                    given = module.config.rope_parameters
                    lengths.append((given[at.removesuffix("_")] if at else given)["original_max_position_embeddings"])
        self.reach: int | None = min((int(length) for length in lengths), default=None)

    def reset(self) -> None:
        """Forget the texts before."""
        for module, at in self._dynamic:
            original = getattr(module, f"{at}original_inv_freq").to(getattr(module, f"{at}inv_freq").device)
            module.register_buffer(f"{at}inv_freq", original, persistent=False)
            setattr(module, f"{at}max_seq_len_cached", module.original_max_seq_len)


def _kinds(module: Any) -> Iterator[tuple[str, str]]:
    """The kinds of rotary positions that ``module`` makes, each with what its attributes' names begin with."""
    kind = getattr(module, "rope_type", None)
    if isinstance(kind, str):
        yield kind, ""
    elif isinstance(kind, dict):
        yield from ((name, f"{layers}_") for layers, name in kind.items() if isinstance(name, str))
