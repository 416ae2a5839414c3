"""Requirements with hashes, from constraints.txt: what an operator and a participant install beside the members.

They are complete, for every platform and Python that a member runs on, and meant for `pip install --require-hashes
--no-deps`. torch stands apart, with what it alone needs: which of its builds is right depends on the machine, and a
build from another index than PyPI has other hashes.
"""

import re
import subprocess
import sys
from pathlib import Path

from .links import ROOT
from .stage import MEMBERS, project

SIDES = {"operator": ("fedit-shared", "agg-server"), "participant": ("fedit-shared", "edge-client")}
EXTRAS = {"operator": ("postgresql", "s3"), "participant": ()}
"""The last member's, each locked in a file of its own, beside the side's."""
TORCH = re.compile(r"^(torch|triton|nvidia-(?!ml-py)|cuda-)")
ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)


def lock(side: str) -> dict[str, str]:
    """File name → content, of what ``side`` needs, and of what its extras need besides. Asks PyPI for hashes."""
    wanted = sorted(requirement for name in SIDES[side] for requirement in _foreign(name))
    entries = _compile(side, wanted)
    torch = [entry for entry in entries if TORCH.match(entry)]
    locked = {f"requirements-{side}.txt": _file(side, [entry for entry in entries if entry not in torch])}
    if torch:
        locked["requirements-torch-from-pypi.txt"] = _file("participant, torch as PyPI has it", torch)
    for extra in EXTRAS[side]:
        more = project(ROOT / MEMBERS[SIDES[side][-1]])["optional-dependencies"][extra]
        besides = [entry for entry in _compile(side, [*wanted, *more]) if entry not in entries]
        locked[f"requirements-{side}-{extra}.txt"] = _file(f"{side}, besides its own file for {extra}", besides)
    return locked


def _compile(side: str, wanted: list[str]) -> list[str]:
    """An entry for each distribution that ``wanted`` comes to."""
    lowest = project(ROOT)["requires-python"].removeprefix(">=")
    command = [
        *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--no-config"),
        *("--universal", "--python-version", lowest, "--generate-hashes", "--no-header", "--no-annotate"),
        *("--constraint", "constraints.txt", "-"),
    ]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(wanted), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv could not lock what the {side} needs:\n{done.stderr}")
    return [entry for entry in ENTRY.split(done.stdout) if entry.strip()]


def _foreign(name: str) -> list[str]:
    requirements: list[str] = project(ROOT / MEMBERS[name])["dependencies"]
    return [requirement for requirement in requirements if not requirement.startswith(tuple(MEMBERS))]


def _file(title: str, entries: list[str]) -> str:
    head = f"# {title}: pip install --require-hashes --no-deps -r THIS_FILE, then the members' wheels with --no-deps\n"
    return head + "".join(entries)
