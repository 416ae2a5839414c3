"""``python -m fuzzing.engine MODULE TARGET FOLDER SECONDS``: one target under atheris, in a process of its own.

What is tried is guided by the coverage of this project's modules, which must not have been imported before.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from random import Random

import atheris

_OURS = ("fedit_shared", "edge_client", "agg_server")
_COMPILED = ("fedit_shared.rounding", "fedit_shared.secagg.kernels")
"""Numba compiles them, and cannot what atheris makes of them."""
_SECONDS_EACH = 20
"""Longer than that for one input is a finding."""


def fuzz(module: str, name: str, folder: Path, seconds: int) -> None:
    """Does not return. Exit status 0: nothing was found; else the input lies in ``folder`` as crash-, timeout- or
    oom-HASH. What was reached is kept in ``folder``/corpus for the next time."""
    with atheris.instrument_imports(include=list(_OURS), exclude=list(_COMPILED)):
        from .mutations import mutated
        from .target import ROOM

        [target] = [target for target in import_module(module).TARGETS if target.name == name]
        seeds = list(target.seeds)
    for part, data in (("seeds", seeds), ("corpus", [])):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(data):
            (folder / part / f"{number:03}").write_bytes(seed)

    def change(data: bytes, longest: int, chance: int) -> bytes:
        random = Random(chance)
        if random.random() < 0.3:
            changed: bytes = atheris.Mutate(data, longest)
            return changed
        return mutated(random, data, target.form, seeds, longest)

    used = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if _has_proc() else 0
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={max(target.longest, *map(len, seeds))}",
        f"-timeout={_SECONDS_EACH}",
        f"-rss_limit_mb={(used + ROOM) >> 20 if used else 4096}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup(
        ["fuzzing", *options, str(folder / "corpus"), str(folder / "seeds")],
        target.accepts,
        custom_mutator=change,
        enable_python_coverage=True,
    )
    atheris.Fuzz()


def _has_proc() -> bool:
    return Path("/proc/self/statm").exists()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
