"""Decoder and head are the whole model, whatever the architecture, and padding changes nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import save_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from edge_client.data.template import Example
from edge_client.training.footprint import CHUNK
from edge_client.training.language_model import LanguageModel
from edge_client.training.process import _environment

ARCHITECTURES: dict[str, dict[str, object]] = {
    "Llama": {},
    "GPT2": {},
    "Gemma2": {"final_logit_softcapping": 3.0, "head_dim": 16},
    "Granite": {"logits_scaling": 4.0},
    "Cohere": {"logit_scale": 0.3},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16},
}


def load(folder: Path) -> LanguageModel:
    said: list[str] = []
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    language_model = LanguageModel(model, torch.float32, said.append)
    assert said == []
    return language_model


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_two_parts_give_the_models_own_logits(kind: str, tmp_path: Path) -> None:
    language_model = load(save_model(tmp_path / kind, kind, **ARCHITECTURES[kind]))
    tokens = torch.randint(0, 256, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = language_model.model(input_ids=tokens).logits
        parts = language_model.head(language_model.hidden(tokens)[1, 3:9])
    torch.testing.assert_close(parts, whole[1, 3:9], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["Llama", "Gemma2"])
def test_a_records_loss_does_not_depend_on_what_it_is_padded_to(kind: str, tmp_path: Path) -> None:
    language_model = load(save_model(tmp_path / kind, kind, **ARCHITECTURES[kind]))
    short = Example(tuple(range(60, 72)), 5, 0)
    long = Example(tuple(range(20, 80)), 9, 1)
    together = language_model.record_losses([long, short])
    apart = [language_model.record_losses([long])[0], language_model.record_losses([short])[0]]
    assert together == pytest.approx(apart, rel=1e-5)


def test_a_records_loss_is_that_of_transformers(model_folder: Path) -> None:
    language_model = load(model_folder)
    example = Example(tuple(range(30, 60)), 12, 0)
    tokens = torch.tensor([example.tokens])
    labels = tokens.clone()
    labels[0, :12] = -100
    with torch.no_grad():
        mean = language_model.model(input_ids=tokens, labels=labels).loss.item()
    assert language_model.record_losses([example]) == pytest.approx([mean * 18], rel=1e-5)


class LogitsSeen(TorchDispatchMode):
    """The most values of any tensor as wide as the vocabulary that an operation gives, backward passes included."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else (output,):
            if isinstance(tensor, torch.Tensor) and tensor.dim() > 1 and tensor.shape[-1] == self.vocabulary:
                self.most = max(self.most, tensor.numel())
        return output


@pytest.mark.parametrize("train", [True, False])
def test_the_whole_logits_are_never_there(train: bool, tmp_path: Path) -> None:
    vocabulary = 1009
    language_model = load(save_model(tmp_path / "model", vocab_size=vocabulary))
    examples = [Example(tuple(range(length)), 1, place) for place, length in enumerate((200, 200, 150))]
    assert language_model.packs
    with LogitsSeen(vocabulary) as seen:
        if train:
            parameters = list(language_model.model.model.layers.parameters())
            torch.autograd.grad(language_model.loss(examples, []), parameters)
        else:
            language_model.record_losses(examples)
    assert seen.most == CHUNK * vocabulary


class OddOutput(torch.nn.Module):
    """A decoder whose hidden states are not what its model goes on with."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, **arguments: object) -> object:
        output = self.decoder(**arguments)
        output.last_hidden_state = output.last_hidden_state + 1
        return output


def test_a_model_that_cannot_be_split_is_trained_whole_and_says_so(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    reference = LanguageModel(model, torch.float32, lambda _: None)
    odd = OddOutput(model.model)
    model.get_decoder = lambda: odd
    said: list[str] = []
    whole = LanguageModel(model, torch.float32, said.append)
    examples = [Example(tuple(range(30, 60)), 12, 0)]
    assert len(said) == 1
    assert whole.record_losses(examples) == pytest.approx(reference.record_losses(examples), rel=1e-5)


def test_rounded_up_numbers_of_tokens_change_neither_loss_nor_gradient(model_folder: Path) -> None:
    """Packed and padded alike."""
    uneven = [Example(tuple(range(20, 20 + length)), 5, length) for length in (41, 17, 29)]
    for examples in (uneven, uneven[:1]):
        found = []
        for multiples in ((1, 1), (32, 16)):
            language_model = load(model_folder)
            language_model.row_multiple, language_model._head_multiple = multiples
            weights = [p for name, p in language_model.model.named_parameters() if "q_proj" in name]
            loss = language_model.loss(examples, [])
            found.append([loss, *torch.autograd.grad(loss, weights)])
            losses = language_model.record_losses(examples)
            assert sum(losses) == pytest.approx(float(loss.detach()))
        for plain, rounded in zip(*found, strict=True):
            torch.testing.assert_close(rounded, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [(10, 41), (41, 41)])
def test_a_record_as_long_as_the_table_of_positions_can_be_rounded_up(lengths: tuple[int, int], tmp_path: Path) -> None:
    """Packed and padded."""
    language_model = load(save_model(tmp_path / "GPT2", "GPT2", max_position_embeddings=41))
    examples = [Example(tuple(range(20, 20 + length)), 5, place) for place, length in enumerate(lengths)]
    plain = language_model.record_losses(examples)
    language_model.row_multiple = 32
    assert language_model.record_losses(examples) == pytest.approx(plain, rel=1e-5)


GROWTH = """
import sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM
from edge_client.data.template import Example
from edge_client.training.language_model import LanguageModel
from edge_client.training.memory import Budget

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
language_model, budget = LanguageModel(model, torch.bfloat16, print), Budget(torch.device("cpu"), None)
def train(lengths):
    for length in lengths:
        pair = [Example(tuple(range(length)), 3, 0), Example(tuple(range(7, length)), 3, 1)]
        language_model.loss(pair, []).backward()
        model.zero_grad()
    budget.release()
    return budget.used()
before = train(range(210, 230))
print(train(range(20, 210)) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_lengths_that_were_never_seen_take_no_memory_for_good(model_folder: Path) -> None:
    """In bfloat16 on a processor that multiplies it, where kernels are compiled for numbers of tokens."""
    command = [sys.executable, "-c", GROWTH, str(model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(1))
    assert int(done.stdout) < 60 * 2**20, done.stderr
