"""What is done with a round's mean update. One class per method, found by its name in the settings."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .blockwise import blocks

State = Mapping[str, NDArray[np.float32]]


class Optimizer(Protocol):
    """A server step: adapter and update float32 (d,); the state is kept beside the adapter version that it leads to."""

    def step(
        self, adapter: NDArray[np.float32], update: NDArray[np.float64], state: State, learning_rate: float
    ) -> tuple[NDArray[np.float32], State]:
        """The next adapter, float32 (d,), and the next state (empty before the first round)."""
        ...


class FedAvg:
    """adapter + learning_rate · mean update (McMahan et al. 2017; learning rate 1 is plain averaging)."""

    def step(
        self, adapter: NDArray[np.float32], update: NDArray[np.float64], state: State, learning_rate: float
    ) -> tuple[NDArray[np.float32], State]:
        """See :class:`Optimizer`; it keeps no state."""
        following = np.empty_like(adapter)
        for part in blocks(adapter.size):
            following[part] = adapter[part] + learning_rate * update[part]
        return following, {}


OPTIMIZERS: dict[str, Optimizer] = {"fedavg": FedAvg()}
