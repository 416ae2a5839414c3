"""The loss from the last hidden states on: the client's own beside the kernels of liger-kernel and cut-cross-entropy,
where those are installed (`pip install liger-kernel cut-cross-entropy`; they need a card).

``python -m benchmarks.training.heads [DEVICE]`` prints one line of JSON: of each its tokens/s, forwards and backwards,
the memory that it takes at its peak beside what it is given, its loss, and how far its gradient is from the first's.
"""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

TOKENS, WIDTH, WORDS = 2048, 4096, 32000
TIMES = 10
_SECONDS = 90.0


def measure(seconds: float) -> list[dict[str, Any]]:
    """On a card, in a process of its own, which ends within ``seconds``; nothing, where it did not."""
    command = [sys.executable, "-m", "benchmarks.training.heads", "cuda"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=min(seconds, _SECONDS))
    except subprocess.TimeoutExpired:
        return []
    lines = done.stdout.splitlines()
    found: list[dict[str, Any]] = json.loads(lines[-1]) if done.returncode == 0 and lines else []
    return found


def compare(device: str, tokens: int, width: int, words: int, times: int) -> list[dict[str, Any]]:
    """Each loss over ``tokens`` hidden states of ``width`` in bfloat16, by a head of ``words``."""
    import torch

    torch.manual_seed(0)
    head = (torch.randn(words, width, device=device) * 0.02).bfloat16()
    hidden = torch.randn(tokens, width, device=device).bfloat16().requires_grad_()
    labels = torch.randint(words, (tokens,), device=device)
    first = None
    found: list[dict[str, Any]] = []
    for name, make in _LOSSES.items():
        try:
            loss = make(head)
            (gradient,) = torch.autograd.grad(loss(hidden, labels), hidden)  # compiles
        except Exception as error:  # not installed, or not for this device
            found.append({"name": name, "outcome": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
            continue
        first = gradient if first is None else first
        off = float((gradient.float() - first.float()).norm() / first.float().norm())
        value = float(loss(hidden, labels).detach()) / tokens
        rate, peak = _timed(loss, hidden, labels, times)
        found.append(
            {"name": name, "outcome": "done", "tokens_per_s": rate, "peak": peak, "loss": value, "gradient_off": off}
        )
    return found


def _timed(loss: Callable[[Any, Any], Any], hidden: Any, labels: Any, times: int) -> tuple[float, int | None]:
    import torch

    card = hidden.device.type == "cuda"
    if card:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if card else 0
    began = time.monotonic()
    for _ in range(times):
        torch.autograd.grad(loss(hidden, labels), hidden)
    if card:
        torch.cuda.synchronize()
    rate = round(times * len(labels) / (time.monotonic() - began), 1)
    return rate, torch.cuda.max_memory_allocated() - before if card else None


def _ours(head: Any) -> Callable[[Any, Any], Any]:
    from edge_client.training.loss import cross_entropy

    return lambda hidden, labels: cross_entropy(lambda states: states @ head.t(), hidden, labels)


def _liger(head: Any) -> Callable[[Any, Any], Any]:
    fused = importlib.import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss(reduction="sum")
    return lambda hidden, labels: fused(head, hidden, labels)


def _cut(head: Any) -> Callable[[Any, Any], Any]:
    linear_cross_entropy = importlib.import_module("cut_cross_entropy").linear_cross_entropy
    return lambda hidden, labels: linear_cross_entropy(hidden, head, labels, reduction="sum")


_LOSSES: dict[str, Callable[[Any], Callable[[Any, Any], Any]]] = {
    "ours": _ours,
    "liger-kernel": _liger,
    "cut-cross-entropy": _cut,
}


if __name__ == "__main__":
    print(json.dumps(compare((sys.argv[1:] or ["cuda"])[0], TOKENS, WIDTH, WORDS, TIMES)))
