"""How busy others keep the NVIDIA cards, by NVML: nvidia-ml-py, which talks to the driver's own library.

NVML counts by process how much of the time a card's processors worked for it (``nvmlDeviceGetProcessUtilization``).
Where it does not (Windows, WSL) or tells process ids of another namespace (containers), the load of a card as a whole
is taken while the client has no child; while it has one, which may be what loads the card, keyboard, mouse and
processor have to speak for it.
"""

from typing import Any

import psutil


class Cards:
    """All NVIDIA cards of this machine; none, where NVML is not installed or finds no driver."""

    def __init__(self, nvml: Any = None) -> None:
        """``nvml``: the module ``pynvml``, or what behaves like it; None: it is imported."""
        self._nvml = nvml
        self._handles: list[Any] = []
        self._seen: dict[int, int] = {}
        try:
            if nvml is None:
                import pynvml

                self._nvml = pynvml
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except ImportError:
            pass
        except self._error:
            self._handles = []

    def others(self, own: set[int]) -> float | None:
        """The fraction of time that the busiest card worked for processes not in ``own`` (the client and its children),
        since the last call; None if there is no card that tells."""
        loads = [self._load(index, own) for index in range(len(self._handles))]
        told = [load for load in loads if load is not None]
        return max(told) if told else None

    def _load(self, index: int, own: set[int]) -> float | None:
        handle, nvml = self._handles[index], self._nvml
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, self._seen.get(index, 0))
        except self._error as error:
            if error.value in (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND):  # nobody used it
                return 0.0
            return self._whole_load(handle, own)
        first = index not in self._seen
        self._seen[index] = max([self._seen.get(index, 0), *(sample.timeStamp for sample in samples)])
        if first:
            return None  # the driver's whole memory, not what is going on now
        if not all(psutil.pid_exists(sample.pid) for sample in samples):
            return self._whole_load(handle, own)
        by_process: dict[int, list[int]] = {}
        for sample in samples:
            by_process.setdefault(sample.pid, []).append(sample.smUtil)
        return min(1.0, sum(sum(used) / len(used) for pid, used in by_process.items() if pid not in own) / 100)

    def _whole_load(self, handle: Any, own: set[int]) -> float | None:
        if len(own) > 1:
            return None
        try:
            return float(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except self._error:
            return None

    @property
    def _error(self) -> Any:
        return self._nvml.NVMLError
