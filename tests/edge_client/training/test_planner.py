"""The plan fits, is the fastest that does, and never touches the mathematics."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_client.training.failures import NoRoomError
from edge_client.training.footprint import Way, Work, make_adapter, peak, table
from edge_client.training.planner import alternatives, make_plan, smallest
from edge_client.training.shape import read_shape
from edge_client.training.sizes import gib

SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
}  # fmt: skip
SHAPE = read_shape(SMOLLM2)
WORK = Work(SHAPE, make_adapter(SHAPE, 8, ("q_proj", "k_proj", "v_proj", "o_proj")), False, 2, 256, 458 * 10**6)
MB = 10**6

# Peaks of real children with SmolLM2, in MB, by (bytes of a value, records, layers computed again, whether freed memory
# is kept): of even records of 256 tokens, and of Dolly's, up to 512 tokens, after 64 to 144 of them.
EVEN = {
    (2, 4, 0, True): 1515, (2, 4, 0, False): 1501, (2, 2, 0, True): 1188, (2, 2, 0, False): 1169,
    (2, 1, 0, False): 952, (2, 4, 15, True): 1159, (2, 4, 30, True): 790,
    (4, 4, 0, False): 1727, (4, 4, 30, False): 857, (4, 1, 0, False): 1032, (4, 2, 0, False): 1238,
    (4, 4, 0, True): 1790,
}  # fmt: skip
UNEVEN = {
    (2, 4, 0, True): 2494, (2, 4, 0, False): 2292, (2, 1, 0, True): 1216, (2, 1, 0, False): 1220,
    (2, 8, 15, True): 2453,
}  # fmt: skip


@pytest.mark.parametrize("uneven", [False, True])
def test_predictions_are_within_a_tenth_of_what_was_measured(uneven: bool) -> None:
    for (width, records, again, pooled), measured in (UNEVEN if uneven else EVEN).items():
        work = replace(WORK, width=width, length=512 if uneven else 256, uneven=uneven)
        predicted = peak(work, Way("int8", records, again, pooled=pooled))
        assert predicted == pytest.approx(measured * MB, rel=0.1), (width, records, again, pooled)


@settings(deadline=None)
@given(st.integers(750, 8000), st.integers(1, 64), st.integers(16, 2048))
def test_a_plan_fits_and_its_table_sums_to_its_peak(budget: int, batch_size: int, length: int) -> None:
    work = replace(WORK, length=length)
    try:
        plan = make_plan(work, budget * MB, ("int8",), batch_size)
    except NoRoomError:
        assert smallest(work, ("int8",), batch_size).budget > budget * MB
        return
    assert plan.peak <= budget * MB
    assert sum(line.bytes for line in plan.lines) == plan.peak >= peak(work, plan.way)
    assert 1 <= plan.way.micro_batch <= batch_size
    assert plan.smaller is None or plan.smaller.peak < plan.peak
    assert plan.larger is None or (plan.larger.budget > budget * MB and plan.larger.speed > 1)


def test_more_memory_is_never_slower() -> None:
    plans = [make_plan(WORK, budget * MB, ("int8",), 16) for budget in (850, 900, 1200, 1700, 2400, 4800, 20000)]
    more = [plan.larger.peak for plan in plans if plan.larger]
    assert more == sorted(more)
    assert plans[-1].larger is None
    assert plans[-1].way == Way("int8", 8, 0, pooled=True)


def test_the_larger_option_is_what_that_much_memory_gets() -> None:
    plan = make_plan(WORK, 1000 * MB, ("int8",), 16)
    assert plan.larger is not None
    again = make_plan(WORK, plan.larger.budget, ("int8",), 16)
    assert again.peak <= plan.larger.peak
    assert again.way != plan.way


@pytest.mark.parametrize("budget", [900, 1000, 1200, 2400, 4800])
def test_less_is_less_than_what_is_used_as_it_is_told(budget: int) -> None:
    plan = make_plan(WORK, budget * MB, ("int8",), 16)
    assert plan.smaller is not None
    [told] = [line for line in alternatives(WORK, plan) if line.startswith("Less: ")]
    assert told.startswith(f"Less: {gib(plan.smaller.peak)} used, within {gib(plan.smaller.budget)}; ")
    assert plan.smaller.peak <= 0.95 * plan.peak, "for less than a twentieth nobody would change anything"
    assert make_plan(WORK, plan.smaller.budget, ("int8",), 16).peak <= plan.smaller.peak


def test_what_was_begun_goes_on_in_the_same_way_if_it_still_fits() -> None:
    before = make_plan(WORK, 1000 * MB, ("int8",), 16).way
    assert make_plan(WORK, 4800 * MB, ("int8",), 16).way != before
    assert make_plan(WORK, 4800 * MB, ("int8",), 16, before).way == before
    assert make_plan(WORK, 850 * MB, ("int8",), 16, before).way != before


def test_four_bits_are_taken_only_where_allowed_and_eight_do_not_fit() -> None:
    budget = smallest(WORK, ("int8",), 4).budget - MB
    with pytest.raises(NoRoomError):
        make_plan(WORK, budget, ("int8",), 4)
    plan = make_plan(WORK, budget, ("int8", "nf4"), 4)
    assert plan.way.quantization == "nf4"
    assert "int8 does not fit" in plan.reason
    assert make_plan(WORK, budget + MB, ("int8", "nf4"), 4).way.quantization == "int8"


LARGE = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip
EVERYWHERE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_an_optimizer_state_in_bytes_is_taken_where_it_saves_much_and_the_full_one_does_not_fit() -> None:
    shape = read_shape(LARGE)
    work = Work(shape, make_adapter(shape, 64, EVERYWHERE), True, 2, 512, 0)
    least = smallest(work, ("int8",), 16)
    assert least.way.optimizer_bits == 8
    plan = make_plan(work, least.budget, ("int8",), 16)
    assert plan.way == least.way
    assert "8 bits" in plan.reason
    assert make_plan(work, 10**12, ("int8",), 16).way.optimizer_bits == 32


@settings(deadline=None)
@given(st.integers(750, 8000))
def test_a_small_adapters_optimizer_state_is_never_rounded(budget: int) -> None:
    try:
        plan = make_plan(WORK, budget * MB, ("int8",), 16)
    except NoRoomError:
        return
    options = [option.way for option in (plan.smaller, plan.larger) if option]
    assert all(way.optimizer_bits == 32 for way in (plan.way, *options))


def test_nothing_that_fits_is_told_with_what_would() -> None:
    with pytest.raises(NoRoomError, match="loading it alone needs") as caught:
        make_plan(WORK, 600 * MB, ("int8",), 4)
    assert "It fits into" in caught.value.advice
    long = replace(WORK, length=8192)
    with pytest.raises(NoRoomError, match="One record of 8192 tokens does not fit") as caught:
        make_plan(long, 900 * MB, ("int8",), 4)
    assert "Records of up to" in caught.value.advice
    words = caught.value.advice.split("Records of up to ")[1]
    length = int(words.split()[0])
    assert make_plan(replace(long, length=length), 900 * MB, ("int8",), 4)
    with pytest.raises(NoRoomError):
        make_plan(replace(long, length=length + 1), 900 * MB, ("int8",), 4)


def test_memory_that_makes_nothing_faster_is_left_alone() -> None:
    plan = make_plan(WORK, 10**12, ("int8",), 256)
    assert plan.way.micro_batch < 256
    assert plan.larger is None


def test_recomputing_saves_what_the_layers_keep() -> None:
    peaks = [peak(WORK, Way("int8", 4, again)) for again in (0, 10, 20, 30)]
    assert peaks == sorted(peaks, reverse=True)
    assert [line.bytes for line in table(WORK, Way("int8", 4, 30)) if "activations, " in line.what] == []


def test_planning_imports_no_heavy_library() -> None:
    program = (
        "import sys, edge_client.training.planner, edge_client.training.outlook, edge_client.training.config_source\n"
        "print(sorted({'torch', 'transformers', 'peft', 'bitsandbytes', 'huggingface_hub'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
