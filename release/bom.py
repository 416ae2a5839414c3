"""Bills of materials, CycloneDX: what an environment holds into which a side was installed, with licences and who needs
whom, and what the side's locks name besides, for other platforms, for torch and for extras."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from .links import ROOT

Bill = dict[str, Any]
_TOOL = Path(sys.executable).with_name("cyclonedx-py")
_WRITTEN = ("--output-reproducible", "--spec-version", "1.6", "-o", "-")


def bill_of_materials(inside: Path, member: Path, locks: Sequence[Path]) -> str:
    """Of the interpreter ``inside`` an environment, whose main distribution is the folder ``member``, and of
    ``locks``. Raises SystemExit with the tool's words if it fails."""
    project = ("--pyproject", str(member / "pyproject.toml"))
    with tempfile.TemporaryDirectory() as folder:
        together = Path(folder) / "requirements.txt"
        together.write_text("".join(path.read_text(encoding="utf-8") for path in locks), encoding="utf-8")
        listed = _made("requirements", str(together), *project)
    return json.dumps(merged(_made("environment", str(inside), *project), listed), indent=2) + "\n"


def merged(installed: Bill, listed: Bill) -> Bill:
    """``installed``, and what only ``listed`` has: needed by the main distribution, one way or another. What both have
    gets the hashes of the list."""
    there = {canonicalize_name(one["name"]): one for one in installed["components"]}
    more = []
    for one in listed["components"]:
        known = there.get(canonicalize_name(one["name"]))
        if known is None:
            more.append(one | {"bom-ref": f"locked:{one['name']}=={one.get('version', '')}"})
        elif references := one.get("externalReferences"):
            known["externalReferences"] = [*known.get("externalReferences", []), *references]
    refs = [one["bom-ref"] for one in more]
    root = installed["metadata"]["component"]["bom-ref"]
    dependencies = [
        edge | {"dependsOn": sorted({*edge.get("dependsOn", []), *refs})} if edge["ref"] == root else edge
        for edge in installed["dependencies"]
    ]
    return installed | {
        "components": [*installed["components"], *more],
        "dependencies": [*dependencies, *({"ref": ref} for ref in refs)],
    }


def _made(*command: str) -> Bill:
    done = subprocess.run([_TOOL, *command, *_WRITTEN], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    bill: Bill = json.loads(done.stdout)
    return bill
