"""Masked sum = plain sum, bit for bit: what the server opened against what the survivors' machines kept aside."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from .settings import NAMES, Settings


def keep_plain(folder: Path, cohort: bytes, slots: NDArray[np.int64]) -> None:
    """Keep one device's plain slots of one cohort aside."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"slots": slots}, folder / f"{cohort.hex()}.safetensors")


def sum_is_exact(settings: Settings, cohort: dict[str, Any], names: dict[str, str]) -> bool:
    """Whether a published cohort's sum, as in ``fedit-server rounds --json``, is the survivors' plain integer sum.

    ``names``: device → participant.
    """
    opened = load_file(settings.server / cohort["sum"])["slots"].astype(np.int64)
    plain = np.zeros_like(opened)
    for device in cohort["survivors"]:
        plain += load_file(plain_folder(settings, names[device]) / f"{cohort['cohort']}.safetensors")["slots"]
    return bool(np.array_equal(opened, plain))


def plain_folder(settings: Settings, name: str) -> Path:
    """Where a participant's plain slots are kept."""
    assert name in NAMES
    return settings.home(name) / "plain"
