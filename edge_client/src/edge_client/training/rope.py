"""Rotary positions whose frequencies depend on how long a text is: transformers takes them from the longest one of a
call, and with ``dynamic`` keeps them for the next call. A record must be what it is by itself, whatever is computed
beside it or was before it."""

from collections.abc import Iterator

from torch import nn


class Rope:
    """The positions of ``model``. ``reach``: up to how many tokens a text's frequencies do not depend on its length;
    None: however long it is."""

    def __init__(self, model: nn.Module) -> None:
        self._dynamic = [(m, at) for m in model.modules() for kind, at in _kinds(m) if "dynamic" in kind]
        lengths = [m.original_max_seq_len for m, _ in self._dynamic]
        for module in model.modules():
            for kind, at in _kinds(module):
                if kind == "longrope":
                    given = module.config.rope_parameters
                    lengths.append((given[at.removesuffix("_")] if at else given)["original_max_position_embeddings"])
        self.reach: int | None = min((int(length) for length in lengths), default=None)

    def reset(self) -> None:
        """Forget the texts before."""
        for module, at in self._dynamic:
            original = getattr(module, f"{at}original_inv_freq").to(getattr(module, f"{at}inv_freq").device)
            module.register_buffer(f"{at}inv_freq", original, persistent=False)
            setattr(module, f"{at}max_seq_len_cached", module.original_max_seq_len)


def _kinds(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The kinds of rotary positions that ``module`` makes, each with what its attributes' names begin with."""
    kind = getattr(module, "rope_type", None)
    if isinstance(kind, str):
        yield kind, ""
    elif isinstance(kind, dict):
        yield from ((name, f"{layers}_") for layers, name in kind.items() if isinstance(name, str))
