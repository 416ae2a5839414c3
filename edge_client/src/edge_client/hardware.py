"""What this machine has, found out without importing torch."""

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One NVIDIA card, as nvidia-smi names it. Sizes in bytes."""

    name: str
    memory_bytes: int
    free_bytes: int
    driver: str


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What is here. Sizes in bytes; ``versions``: the libraries that training needs, "" for one not installed."""

    cpu: str
    cores: int
    memory_bytes: int
    free_bytes: int
    fast_bfloat16: bool
    gpus: tuple[Gpu, ...]
    torch_cuda: str
    """CUDA version that the installed torch was built for; "" for a CPU-only build."""
    versions: dict[str, str]
    advice: str
    """What to do so that the hardware is used: the exact pip line for a CUDA build, or ""."""

    @property
    def accelerator(self) -> str:
        """``cuda`` where training will run on a card, else ``cpu``."""
        return "cuda" if self.gpus and self.torch_cuda else "cpu"


def find_hardware() -> Hardware:
    """Look around. Takes less than a second; never fails: what cannot be found out is empty or 0."""
    raise NotImplementedError
