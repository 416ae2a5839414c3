"""What this machine has, found out without importing torch."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from .room import find_room

_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "numpy")
_PATIENCE = 5.0
"""Seconds that nvidia-smi may take: with a hung driver it never answers."""
CARDS_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""The environment's variable by which an owner says which cards programs may use; numbers in it are nvidia-smi's."""
FIELDS = ("name", "memory.total", "memory.free", "driver_version", "uuid", "compute_cap")
"""What nvidia-smi is asked for."""
_KEPT_BACK = 0.1
"""A machine of 16 GiB shows less: firmware and graphics have their part of it."""
_CUDA = ("cu130", 580)
"""The CUDA build that torch has been publishing since 2.9 for Linux and Windows, and the driver that it needs."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One NVIDIA card, as nvidia-smi names it. Sizes in bytes."""

    name: str
    memory_bytes: int
    free_bytes: int
    driver: str
    uuid: str = ""
    """What CUDA knows it by, too: the numbers of nvidia-smi are not CUDA's."""
    bfloat16: bool = True
    """Whether it multiplies bfloat16: from compute capability 8.0 (Ampere) on; True where the driver does not tell."""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What is here. Sizes in bytes; ``versions``: the libraries that training needs, "" for one not installed."""

    cpu: str
    cores: int
    memory_bytes: int
    free_bytes: int
    """Both as :func:`.room.find_room` says."""
    fast_bfloat16: bool
    """Whether the CPU multiplies bfloat16 in hardware. Known under Linux only; False elsewhere."""
    gpus: tuple[Gpu, ...]
    """As :func:`find_cards` says."""
    torch_cuda: str
    """CUDA version that the installed torch was built for; "" for a CPU-only build."""
    versions: dict[str, str]
    advice: str
    """What to do so that the hardware is used: the exact pip line for a CUDA build, or ""."""

    def multiplies_bfloat16(self, *, cuda: bool) -> bool:
        """Whether that on which training runs does, its card or the CPU."""
        return (self.card is None or self.card.bfloat16) if cuda else self.fast_bfloat16

    @property
    def card(self) -> Gpu | None:
        """The card that training runs on where it runs on one; None: there is none."""
        return chosen_card(self.gpus)

    @property
    def accelerator(self) -> str:
        """``cuda`` where training will run on a card, else ``cpu``."""
        return "cuda" if self.gpus and self.torch_cuda else "cpu"

    @property
    def memory_class(self) -> int:
        """GiB that a server is told of: the largest power of two that what training runs on has, its card or the
        machine, used or not. What is free now would tell what its owner does."""
        size = self.card.memory_bytes if self.card and self.accelerator == "cuda" else self.memory_bytes
        whole = int(size * (1 + _KEPT_BACK)) >> 30
        return 1 << whole.bit_length() >> 1


def find_hardware() -> Hardware:
    """Look around. Takes less than a second; never fails: what cannot be found out is empty or 0."""
    room = find_room()
    gpus = find_cards()
    cuda = _torch_cuda()
    name, flags = _cpu()
    return Hardware(
        cpu=name,
        cores=psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        memory_bytes=room.total,
        free_bytes=room.free,
        fast_bfloat16=bool(flags & {"avx512_bf16", "amx_bf16"}),
        gpus=gpus,
        torch_cuda=cuda,
        versions={name: _version(name) for name in _LIBRARIES},
        advice=cuda_advice(gpus, cuda),
    )


def cuda_advice(gpus: tuple[Gpu, ...], torch_cuda: str) -> str:
    """How to get a torch that uses ``gpus``; "" if there is none, or torch can."""
    if not gpus or torch_cuda:
        return ""
    tag, driver = _CUDA
    line = f"`pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{tag}`"
    major = re.match(r"\d+", gpus[0].driver)
    if major and int(major.group()) < driver:
        return f"Update the NVIDIA driver to {driver} or newer (it is {gpus[0].driver}), then run {line}."
    return f"The installed torch cannot use the {gpus[0].name}. Run {line}."


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """Cards in the CSV of ``--query-gpu=`` and FIELDS (MiB), the last of which may lack; other lines are left out."""
    cards = []
    for line in text.splitlines():
        name, total, free, driver, uuid, *more = [field.strip() for field in line.split(",")] + [""] * 5
        if total.isdigit() and free.isdigit():
            old = re.fullmatch(r"[1-7]\.\d+", more[0]) is not None
            memory, left = int(total) << 20, int(free) << 20
            cards.append(
                Gpu(name=name, memory_bytes=memory, free_bytes=left, driver=driver, uuid=uuid, bfloat16=not old)
            )
    return tuple(cards)


def chosen_card(cards: Sequence[Gpu]) -> Gpu | None:
    """The one of ``cards`` that is trained on: the largest, of several the first. What is free does not matter: it
    changes, and a plan must speak of the card that is trained on tomorrow."""
    return max(cards, key=lambda card: card.memory_bytes, default=None)


def find_cards() -> tuple[Gpu, ...]:
    """The NVIDIA cards that CARDS_VARIABLE leaves of those here; none where it cannot be found out."""
    return visible(_all_cards(), os.environ.get(CARDS_VARIABLE))


def visible(cards: Sequence[Gpu], named: str | None) -> tuple[Gpu, ...]:
    """Those of ``cards`` that CUDA shows to a program with ``named`` in CARDS_VARIABLE (None: it is not set): numbers
    or beginnings of UUIDs, up to the first that is none. All of them where parts of cards (MIG) are named."""
    if named is None or "MIG-" in named:
        return tuple(cards)
    found: list[Gpu] = []
    for name in map(str.strip, named.split(",")):
        if name.isdigit():
            meant = list(cards[int(name) : int(name) + 1])
        else:
            meant = [card for card in cards if name.startswith("GPU-") and card.uuid.startswith(name)]
        if len(meant) != 1:
            break
        found += meant
    return tuple(found)


def card_environment() -> dict[str, str]:
    """What a child's environment needs to run on :attr:`Hardware.card`; nothing, where there is no choice to make."""
    card = chosen_card(find_cards())
    if card is None or not card.uuid or "MIG-" in os.environ.get(CARDS_VARIABLE, ""):
        return {}
    return {CARDS_VARIABLE: card.uuid}


def _all_cards() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    for fields in (FIELDS, FIELDS[:-1]):  # drivers before 510 know the last one not, and then tell nothing
        query = [f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run([program, *query], capture_output=True, text=True, timeout=_PATIENCE)
        except (OSError, subprocess.SubprocessError):
            return ()
        if done.returncode == 0:
            return parse_nvidia_smi(done.stdout)
    return ()


def _cpu() -> tuple[str, set[str]]:
    """The CPU's name and, under Linux, its feature flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return fields.get("model name") or platform.processor() or platform.machine(), set(fields.get("flags", "").split())


def _torch_cuda() -> str:
    """CUDA version of the installed torch, from its ``version.py``, which is read, not run."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
