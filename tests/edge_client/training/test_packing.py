"""Records packed into one row are to the model what they are by themselves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import save_model
from transformers import AttentionInterface, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from edge_client.data.template import Example
from edge_client.training import packing
from edge_client.training.checkpointing import recompute
from edge_client.training.language_model import LanguageModel

PACKING: dict[str, dict[str, object]] = {"Llama": {}, "GPTNeoX": {}, "Qwen2": {}, "GPT2": {}}
OTHERS: dict[str, dict[str, object]] = {
    "Mistral": {"sliding_window": 8},
    "Mamba": {"state_size": 8},  # carries a state from token to token
    "Bloom": {},  # makes its attention, and where a token stands, in its own way
}
EXAMPLES = [
    Example(tuple(range(start, start + length)), learned, number)
    for number, (start, length, learned) in enumerate([(20, 60, 9), (100, 41, 1), (60, 12, 5), (7, 3, 2)])
]


WINDOWS = ["Mistral", "Gemma3Text"]
WINDOW = {"sliding_window": 60}
"""As long as the longest of EXAMPLES."""


def load(tmp_path: Path, kind: str, longest: int | None = None, **changes: object) -> LanguageModel:
    folder = save_model(tmp_path / kind, kind, **changes)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # GPT-2's: it draws other numbers for other shapes
    if kind == "GPT2":
        model.config.attn_pdrop = 0.0
    return LanguageModel(model, torch.float32, lambda _: None, longest=longest)


def outcome(model: LanguageModel, examples: list[Example]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss, and its gradient by every parameter of the whole model."""
    head = list(model.model.get_output_embeddings().parameters())
    loss = model.loss(examples, head)
    return loss.detach(), list(torch.autograd.grad(loss, list(model.model.parameters()), materialize_grads=True))


@pytest.mark.parametrize("again", [0, 2])
@pytest.mark.parametrize("kind", [*PACKING, *WINDOWS])
def test_loss_and_gradients_are_those_of_rows_of_their_own(kind: str, again: int, tmp_path: Path) -> None:
    model = load(tmp_path, kind, 60, **PACKING.get(kind, WINDOW))
    assert model.packs
    assert recompute(model.model, again) == again
    loss, gradients = outcome(model, EXAMPLES)
    model.packs = False
    expected, others = outcome(model, EXAMPLES)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0.0)
    largest = max(float(other.abs().max()) for other in others)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6 * largest)


@pytest.mark.parametrize("kind", PACKING)
def test_a_changed_record_does_not_change_its_neighbours_losses(kind: str, tmp_path: Path) -> None:
    model = load(tmp_path, kind, **PACKING[kind])
    before = model.record_losses(EXAMPLES)
    for place, example in enumerate(EXAMPLES):
        changed = Example(example.tokens[::-1], example.learned, example.record)
        after = model.record_losses([changed if n == place else e for n, e in enumerate(EXAMPLES)])
        assert [n for n in range(len(EXAMPLES)) if after[n] != before[n]] == [place]


def test_a_model_that_another_language_model_was_made_of_packs_as_well(tmp_path: Path) -> None:
    first = load(tmp_path, "Llama")
    assert first.packs
    assert LanguageModel(first.model, torch.float32, lambda _: None).packs


@pytest.mark.parametrize("kind", WINDOWS)
def test_a_window_that_is_shorter_than_a_record_is_kept_to(kind: str, tmp_path: Path) -> None:
    packs = load(tmp_path, kind, 60, **WINDOW)
    assert packs.packs
    long = [Example(tuple(10 + i % 200 for i in range(90)), 1, 9), *EXAMPLES]
    expected = load(tmp_path, kind, 90, **WINDOW)
    assert not expected.packs
    again = LanguageModel(packs.model, torch.float32, lambda _: None, longest=90)
    assert not again.packs
    assert again.record_losses(long) == pytest.approx(expected.record_losses(long), rel=1e-6)
    whole = load(tmp_path, kind, sliding_window=1000)
    assert again.record_losses(long[:1]) != pytest.approx(whole.record_losses(long[:1]), rel=1e-6)


def test_rows_of_one_length_are_left_as_they_are_and_others_have_no_padding(tmp_path: Path) -> None:
    model = load(tmp_path, "Llama")
    seen: list[torch.Size] = []
    model.model.get_decoder().embed_tokens.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    model.record_losses([EXAMPLES[0], EXAMPLES[0]])
    model.record_losses(EXAMPLES)
    assert seen == [(2, 60), (1, 60 + 41 + 12 + 3)]


@pytest.mark.parametrize("kind", OTHERS)
def test_what_cannot_be_packed_is_padded_as_before(kind: str, tmp_path: Path) -> None:
    model = load(tmp_path, kind, **OTHERS[kind])
    assert not model.packs
    together = model.record_losses(EXAMPLES)
    assert together == pytest.approx([model.record_losses([e])[0] for e in EXAMPLES], rel=1e-5)


SHORT = {"max_position_embeddings": 64}
FACTORS = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "factor": 4.0, "original_max_position_embeddings": 64}
STRETCHED: dict[str, dict[str, object]] = {
    "dynamic": SHORT | {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    "longrope": {"rope_parameters": FACTORS | {"rope_type": "longrope", "rope_theta": 10000.0}},
}


@pytest.mark.parametrize("kind", STRETCHED)
def test_positions_that_stretch_with_a_text_do_not_stretch_its_neighbours_nor_those_after(
    kind: str, tmp_path: Path
) -> None:
    long, edge, short = (Example(tuple(10 + i % 200 for i in range(n)), 1, n) for n in (150, 64, 40))
    alone = {each.record: load(tmp_path, "Llama", **STRETCHED[kind]).record_losses([each])[0] for each in (edge, short)}
    model = load(tmp_path, "Llama", **STRETCHED[kind])
    assert model.packs
    _, *beside = model.record_losses([long, edge, short])
    assert beside == [alone[64], alone[40]]
    assert model.record_losses([long]) != model.record_losses([Example(long.tokens[:100], 1, 0)])
    model.record_losses([long])
    assert model.record_losses([edge]) == [alone[64]]
    loss = model.loss([long, short], []).detach()
    assert float(loss) == pytest.approx(float(model.loss([long], []).detach()) + alone[40], rel=1e-6)


def test_an_architecture_that_does_not_tell_its_attention_of_the_borders_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(*tensors: Any, record_lengths: object = None, **options: Any) -> Any:
        return sdpa_attention_forward(*tensors, **options)

    assert load(tmp_path, "Llama").packs
    monkeypatch.setitem(AttentionInterface._global_mapping, packing.NAME, deaf)
    model = load(tmp_path, "Llama")
    assert not model.packs
    assert model.model.config._attn_implementation == "sdpa"


def test_an_answer_is_the_same_whether_records_can_be_packed(tmp_path: Path) -> None:
    model = load(tmp_path, "Llama")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "Llama", dtype=torch.float32)
    prompt = torch.tensor([EXAMPLES[2].tokens])
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    answers = [m.eval().generate(prompt, **options) for m in (model.model, plain)]
    assert answers[0].tolist() == answers[1].tolist()
