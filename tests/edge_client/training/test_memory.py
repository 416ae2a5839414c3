"""The cap holds: what would go past it fails in a way that is recognised, what stays below it does not."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from edge_client.training.loading import choose_device
from edge_client.training.memory import Budget, is_out_of_memory
from edge_client.training.sizes import gib

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the CPU's cap is Linux's RLIMIT_DATA")

PROGRAM = """
import torch
from edge_client.training.memory import Budget, is_out_of_memory
torch.set_num_threads(1)
cpu = torch.device("cpu")
budget = Budget(cpu, Budget(cpu, None).used() + 200 * 2**20)
budget.apply()
kept = torch.ones(100 * 2**20 // 4)
try:
    torch.ones(150 * 2**20 // 4)
except Exception as error:
    print("refused", is_out_of_memory(error))
del kept
budget.release()
print("fits", torch.ones(150 * 2**20 // 4).numel() > 0, budget.peak() < budget.limit)
"""


@linux_only
def test_past_the_cap_an_allocation_fails_and_the_process_lives() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["refused True", "fits True True"], done.stderr


def test_less_than_is_in_use_already_is_refused_with_advice() -> None:
    from edge_client.training.failures import NoRoomError

    with pytest.raises(NoRoomError, match="in use before training starts") as caught:
        Budget(torch.device("cpu"), 2**20).apply()
    assert caught.value.advice


def test_memory_that_others_hold_is_told_from_a_budget_that_is_too_small() -> None:
    from edge_client.training.failures import CrowdedError, NoRoomError

    cpu = torch.device("cpu")
    vast, own, least = Budget(cpu, 2**60), Budget(cpu, None), Budget(cpu, 2**20)  # no machine has all of vast
    for budget in (vast, own):
        with (
            pytest.raises(CrowdedError, match=r"Memory ran out\. Other programs leave .*iB") as caught,
            budget.shared(),
        ):
            raise MemoryError
        assert caught.value.exit_code == 3
    with pytest.raises(NoRoomError) as alone, least.shared():
        least.apply()
    assert type(alone.value) is NoRoomError
    with pytest.raises(ValueError, match="other"), vast.shared():
        raise ValueError("other")


def test_the_cap_of_a_card_is_set_on_the_card_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through torch's own check of its arguments: it refuses a device without a number."""
    set_to: list[tuple[float, int]] = []
    card = SimpleNamespace(total_memory=10 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *given: set_to.append(given), raising=False)
    for wanted in ("auto", "cuda"):
        Budget(choose_device(wanted), 4 * 2**30).apply()
    Budget(choose_device("auto"), 11 * 2**30).apply()
    assert set_to == [(0.4, 0), (0.4, 0), (1.0, 0)]
    assert choose_device("cpu").type == "cpu"


def test_other_errors_are_not_taken_for_memory_that_ran_out() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_sizes_are_written_for_people() -> None:
    assert (gib(3 * 2**29), gib(300 * 2**20)) == ("1.50 GiB", "300 MiB")
