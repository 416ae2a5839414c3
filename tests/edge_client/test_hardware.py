"""What is here is found without torch, and a card that torch cannot use is given the line that mends it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge_client.cli.hardware import hardware_lines
from edge_client.hardware import Gpu, card_environment, cuda_advice, find_hardware, parse_nvidia_smi, visible
from edge_client.training.outlook import free_memory
from edge_client.training.process import Child

CARDS = (
    "NVIDIA GeForce GTX 1080, 8192, 8000, 581.29, GPU-10aa\n"
    "NVIDIA GeForce RTX 4070, 12282, 4, 581.29, GPU-11bb\n"
    "NVIDIA GeForce RTX 4070, 12282, 11004, 581.29, GPU-12cc\n"
)
"""The first and the last have most memory free; CUDA would count the two large ones first."""


def test_cards_are_read_and_other_lines_left_out() -> None:
    cards = parse_nvidia_smi("a warning\n" + CARDS + "Broken, [N/A], [N/A], 581.29\n")
    assert [card.name.split()[-1] for card in cards] == ["1080", "4070", "4070"]
    assert (cards[2].memory_bytes, cards[2].free_bytes) == (12282 * 2**20, 11004 * 2**20)


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),
        ("GPU-11bb, GPU-10", [1, 0]),
        ("GPU-1", []),  # of several cards: CUDA shows none
        ("MIG-GPU-10aa/1/0", [0, 1, 2]),
    ],
)
def test_a_card_that_the_owner_hides_from_programs_is_not_there(named: str | None, seen: list[int]) -> None:
    cards = parse_nvidia_smi(CARDS)
    assert visible(cards, named) == tuple(cards[index] for index in seen)


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have ``nvidia-smi`` be ``script`` of a shell."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="a shell's program")


@posix_only
@pytest.mark.parametrize(("named", "chosen"), [(None, "GPU-11bb"), ("0,2", "GPU-12cc"), ("0", "GPU-10aa")])
def test_what_is_planned_told_and_trained_on_is_the_same_card(
    named: str | None, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, f"cat <<END\n{CARDS}END")
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    found = msgspec.structs.replace(find_hardware(), torch_cuda="13.0", advice="")
    assert found.card is not None
    assert found.card.uuid == chosen
    assert free_memory(found, cuda=True) == found.card.free_bytes
    said = hardware_lines(found)
    assert ("CUDA_VISIBLE_DEVICES can name another" in said[-1]) is (len(found.gpus) > 1)
    program = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], file=sys.stderr)"
    (tmp_path / "seen.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def seen() -> tuple[int, str]:
        async with await Child.start("seen") as child:
            return await child.ended()

    assert asyncio.run(seen()) == (0, chosen)


@posix_only
@pytest.mark.parametrize("named", ["MIG-1", ""])
def test_a_child_keeps_its_owners_words_where_there_is_no_card_to_choose(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, f"cat <<END\n{CARDS}END")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert card_environment() == {}


def test_a_card_with_a_cpu_torch_gets_the_exact_line() -> None:
    cards = parse_nvidia_smi(CARDS)
    line = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130"
    assert line in cuda_advice(cards, "")
    assert cuda_advice(cards, "13.0") == ""
    assert cuda_advice((), "") == ""
    old = cuda_advice((Gpu(name="x", memory_bytes=1, free_bytes=1, driver="551.86"),), "")
    assert old.startswith("Update the NVIDIA driver to 580 or newer (it is 551.86)")
    assert line in old


def test_a_card_that_multiplies_no_bfloat16_is_known_where_the_driver_tells() -> None:
    lines = [f"Card, 6144, 5800, 581.29, GPU-1, {capability}" for capability in ("7.5", "8.9", "10.0")]
    assert [card.bfloat16 for card in parse_nvidia_smi("\n".join([*lines, CARDS]))] == [False] + 5 * [True]
    found = find_hardware()
    for cards, expected in ((lines[:1], False), (lines[1:], True), ((), True)):
        there = msgspec.structs.replace(found, gpus=parse_nvidia_smi("\n".join(cards)))
        assert there.multiplies_bfloat16(cuda=True) is expected
        assert there.multiplies_bfloat16(cuda=False) is found.fast_bfloat16


OLD = """case "$1" in *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;; esac
echo 'GTX 1080, 8192, 8000, 471.11, GPU-1'
"""


@posix_only
def test_an_old_drivers_cards_are_found_though_it_does_not_tell_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    smi(tmp_path, monkeypatch, OLD)
    assert [card.name for card in find_hardware().gpus] == ["GTX 1080"]


def test_a_server_is_told_a_class_of_memory_that_does_not_change_with_what_is_free() -> None:
    found = msgspec.structs.replace(find_hardware(), gpus=(), torch_cuda="")
    classes = {0.5: 0, 1.0: 1, 3.7: 4, 7.6: 8, 8.0: 8, 15.4: 16, 23.5: 16, 31.0: 32, 62.7: 64, 125.8: 128}
    for size, expected in classes.items():
        for free in (0, int(size * 2**29)):
            there = msgspec.structs.replace(found, memory_bytes=int(size * 2**30), free_bytes=free)
            assert there.memory_class == expected, size
    cards = parse_nvidia_smi(CARDS)
    assert msgspec.structs.replace(found, gpus=cards, torch_cuda="13.0", memory_bytes=2**40).memory_class == 8
    assert msgspec.structs.replace(found, gpus=cards, memory_bytes=2**37).memory_class == 128, "torch uses no card"


def test_this_machine_is_described() -> None:
    found = find_hardware()
    assert found.cpu
    assert found.cores >= 1
    assert 0 < found.free_bytes <= found.memory_bytes
    assert found.versions["numpy"]
    assert found.accelerator in ("cpu", "cuda")


def test_neither_hardware_nor_the_training_api_imports_torch() -> None:
    program = (
        "import sys, edge_client.hardware, edge_client.training, edge_client.inference, edge_client.data\n"
        "edge_client.hardware.find_hardware()\n"
        "sys.exit(','.join({'torch', 'transformers', 'peft', 'bitsandbytes', 'aiohttp'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
