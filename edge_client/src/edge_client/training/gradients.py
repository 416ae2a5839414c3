"""The gradient of what is trained: none of what takes no part in a loss, and an error where one gets lost."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .failures import ModelError


class Gradients:
    """Of ``parameters``, which are ``model``'s."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        places = {id(parameter): place for place, parameter in enumerate(parameters)}
        self._owners: dict[int, tuple[str, nn.Module]] = {}
        for module_name, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in places:
                    self._owners[places[id(parameter)]] = (f"{module_name}.{name}", module)
        self._watched = True

    def of(self, compute: Callable[[], Tensor]) -> tuple[Tensor, Sequence[Tensor | None]]:
        """The loss that ``compute`` gives, and its gradient with respect to each parameter: None for one of a module
        that is not used for it, an expert that no token goes to. Raises ModelError, at the first loss, if a module is
        used and its parameter has none: a layer after it has no backward pass, and it would stay as it is."""
        used: set[int] = set()
        owners = self._owners if self._watched else {}
        hooks = [module.register_forward_hook(partial(_note, used, place)) for place, (_, module) in owners.items()]
        try:
            loss = compute()
            gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        finally:
            for hook in hooks:
                hook.remove()
        self._watched = False
        for place in sorted(used):
            if gradients[place] is None:
                raise ModelError(
                    f"No gradient reaches {self._owners[place][0]}: a layer after it cannot be trained through here.",
                    advice="Train on another machine, and please report this as a bug.",
                )
        return loss, gradients


def _note(used: set[int], place: int, *_: object) -> None:
    used.add(place)
