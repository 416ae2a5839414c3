"""What is done with a round's mean update. One class per method, found by its name in the settings.

With Δ the mean update and x the adapter (Hsu et al., arXiv 1909.06335, for momentum; Reddi et al., arXiv 2003.00295,
algorithm 2, for the adaptive ones):

    fedavg    x + η·Δ
    fedavgm   m = β₁·m + Δ                                   x + η·m
    fedadam   m = β₁·m + (1 − β₁)·Δ
              v = β₂·v + (1 − β₂)·Δ²                         x + η·m / (√v + τ)
    fedyogi   v = v − (1 − β₂)·Δ²·sign(v − Δ²)               as fedadam

m and v begin at 0 and τ². All of them are linear in nothing but Δ, which the sum gives: masking does not concern them.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from .blockwise import blocks

State = Mapping[str, NDArray[np.float32]]
Values = NDArray[np.float32]
_Beta = Annotated[float, msgspec.Meta(ge=0, lt=1)]


class ServerStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The method and its numbers; those that it does not use say nothing."""

    optimizer: str = "fedavg"
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    beta1: _Beta = 0.9
    beta2: _Beta = 0.99
    tau: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-3
    """How much adaptive methods even out: the larger, the more they are like FedAvg."""


class Optimizer(Protocol):
    """A server step: adapter float32 (d,), update float64 (d,); the state is kept beside the adapter version that it
    leads to, and is empty before the first round."""

    def step(
        self, adapter: NDArray[np.float32], update: NDArray[np.float64], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """The next adapter, float32 (d,), and the next state."""
        ...


class FedAvg:
    """adapter + learning_rate · mean update (McMahan et al. 2017; learning rate 1 is plain averaging)."""

    def __init__(self, settings: ServerStep) -> None:
        self._rate = settings.learning_rate

    def step(
        self, adapter: NDArray[np.float32], update: NDArray[np.float64], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """See :class:`Optimizer`; it keeps no state."""
        following = np.empty_like(adapter)
        for part in blocks(adapter.size):
            following[part] = adapter[part] + self._rate * update[part]
        return following, {}


class FedAvgM:
    """FedAvg with momentum."""

    def __init__(self, settings: ServerStep) -> None:
        self._settings = settings

    def step(
        self, adapter: NDArray[np.float32], update: NDArray[np.float64], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """See :class:`Optimizer`; its state is ``m``."""
        numbers = self._settings
        m = _of(state, "m", adapter.size, 0.0)
        following = np.empty_like(adapter)
        for part in blocks(adapter.size):
            m[part] = numbers.beta1 * m[part] + update[part]
            following[part] = adapter[part] + numbers.learning_rate * m[part]
        return following, {"m": m}


class _Adaptive:
    """``second``: (v, Δ², β₂) → the next v."""

    def __init__(self, settings: ServerStep, second: Callable[[Values, NDArray[np.float64], float], Values]) -> None:
        self._settings = settings
        self._second = second

    def step(
        self, adapter: NDArray[np.float32], update: NDArray[np.float64], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """See :class:`Optimizer`; its state is ``m`` and ``v``."""
        numbers = self._settings
        m, v = _of(state, "m", adapter.size, 0.0), _of(state, "v", adapter.size, numbers.tau**2)
        following = np.empty_like(adapter)
        for part in blocks(adapter.size):
            delta = update[part]
            m[part] = numbers.beta1 * m[part] + (1 - numbers.beta1) * delta
            v[part] = self._second(v[part], delta * delta, numbers.beta2)
            following[part] = adapter[part] + numbers.learning_rate * m[part] / (np.sqrt(v[part]) + numbers.tau)
        return following, {"m": m, "v": v}


def _adam(v: Values, squares: NDArray[np.float64], beta: float) -> Values:
    return (beta * v + (1 - beta) * squares).astype(np.float32)


def _yogi(v: Values, squares: NDArray[np.float64], beta: float) -> Values:
    return (v - (1 - beta) * squares * np.sign(v - squares)).astype(np.float32)


OPTIMIZERS: dict[str, Callable[[ServerStep], Optimizer]] = {
    "fedavg": FedAvg,
    "fedavgm": FedAvgM,
    "fedadam": lambda settings: _Adaptive(settings, _adam),
    "fedyogi": lambda settings: _Adaptive(settings, _yogi),
}


ADAPTIVE = frozenset({"fedadam", "fedyogi"})
"""Those that take Δ's direction more than its size: their learning rate is about how far a value moves, so that no one
number serves every task."""


def _of(state: State, name: str, size: int, first: float) -> NDArray[np.float32]:
    """A copy of what the state has under ``name``, or the value to begin with."""
    return state[name].copy() if name in state else np.full(size, first, np.float32)
