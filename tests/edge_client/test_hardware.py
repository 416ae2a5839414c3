"""What is here is found without torch, and a card that torch cannot use is given the line that mends it."""

import subprocess
import sys

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
