"""What is here is found without torch, and a card that torch cannot use is given the line that mends it."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edge_client.hardware import Gpu, cuda_advice, find_hardware, parse_nvidia_smi

CARDS = "NVIDIA GeForce RTX 4070, 12282, 11004, 581.29\nNVIDIA GeForce GTX 1080, 8192, 8000, 581.29\n"


def test_cards_are_read_and_other_lines_left_out() -> None:
    cards = parse_nvidia_smi("a warning\n" + CARDS + "Broken, [N/A], [N/A], 581.29\n")
    assert [card.name for card in cards] == ["NVIDIA GeForce RTX 4070", "NVIDIA GeForce GTX 1080"]
    assert (cards[0].memory_bytes, cards[0].free_bytes) == (12282 * 2**20, 11004 * 2**20)


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
    lines = ["RTX 2060, 6144, 5800, 581.29, 7.5", "RTX 4070, 12282, 11004, 581.29, 8.9", "B200, 9, 9, 581.29, 10.0"]
    assert [card.bfloat16 for card in parse_nvidia_smi("\n".join([*lines, CARDS]))] == [False, True, True, True, True]
    found = find_hardware()
    for cards, expected in ((lines[:1], False), (lines[1:], True), ((), True)):
        there = msgspec.structs.replace(found, gpus=parse_nvidia_smi("\n".join(cards)))
        assert there.multiplies_bfloat16(cuda=True) is expected
        assert there.multiplies_bfloat16(cuda=False) is found.fast_bfloat16


SMI = """#!/bin/sh
case "$1" in *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;; esac
echo 'GTX 1080, 8192, 8000, 471.11'
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's program")
def test_an_old_drivers_cards_are_found_though_it_does_not_tell_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
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
