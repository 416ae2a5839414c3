"""What the model is shown: its own chat template or Alpaca's; what is learned is the answer, cut at its end."""

import signal
import sys
from datetime import datetime
from pathlib import Path

import pytest
from tiny_model import make_tokenizer

from edge_client.data import Record, Template, Turn
from edge_client.data.template import UnshownError
from edge_client.training.local import make_examples
from fedit_shared.errors import UserError
from fedit_shared.messages import TrainingSettings

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds memory by Linux's RLIMIT_DATA")
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
RECORD = Record(instruction="Add", context="1 1", response="2")


def shown(template: Template, record: Record, **options: bool) -> tuple[str, str]:
    """The text before what is learned, and the text learned."""
    example = template.example(record, 0, 10_000, **options)
    assert example is not None
    decode = make_tokenizer().decode
    return decode(example.tokens[: example.learned]), decode(example.tokens[example.learned :])


def test_the_models_own_template_is_used_and_the_answer_with_its_end_is_learned() -> None:
    assert shown(Template(make_tokenizer()), RECORD) == ("<user>Add\n\n1 1<end>\n<assistant>", "2<end>")


def test_earlier_turns_are_shown_but_not_learned() -> None:
    record = Record(instruction="Why?", response="So.", earlier=(Turn("user", "Hi"), Turn("assistant", "Yes")))
    before, learned = shown(Template(make_tokenizer()), record)
    assert before == "<user>Hi<end>\n<assistant>Yes<end>\n<user>Why?<end>\n<assistant>"
    assert learned == "So.<end>"


def test_a_template_that_shows_past_answers_otherwise_still_ends_with_the_answer() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['content'] }}]{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"
    )
    assert shown(Template(tokenizer), RECORD) == ("[Add\n\n1 1]<think>", "2<end>")


@pytest.mark.parametrize("response", ["Yo ", "Yo", " Yo\n"])
def test_where_a_template_does_not_end_a_turn_the_tokenizers_end_is_learned(response: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    _, learned = shown(Template(tokenizer), Record(instruction="Hi", response=response))
    assert learned == response + "<end>"


def test_an_answer_that_a_template_trims_ends_as_the_template_says() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'] | trim")
    assert shown(Template(tokenizer), Record(instruction="Hi", response=" 2 "))[1] == "2<end>"


TOLD = ("%d %b %Y", "%B %d, %Y", "%Y-%m-%d", "%-d.%-m.%y %H:%M:%S %A %a %j %p", "%c", "%x %X")


@pytest.mark.parametrize("form", TOLD)
def test_a_template_that_tells_the_date_tells_the_same_one_every_day(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "\n  {% if strftime_now is defined %}{% set today = strftime_now('" + form + "') %}{% endif %}"
        "[{{ today }}]{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    template = Template(tokenizer)
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock(2026, 12, 31))
    new_year = template.prompt(RECORD)
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock(2024, 7, 26))
    assert template.prompt(RECORD) == new_year
    plain = tokenizer.apply_chat_template([{"role": "user", "content": "Add\n\n1 1"}], tokenize=False)
    assert tokenizer.decode(new_year) == plain


class Clock:
    """What transformers asks for the time."""

    def __init__(self, *day: int) -> None:
        self._day = day

    def now(self) -> datetime:
        return datetime(*self._day)  # type: ignore[arg-type]


NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% elif (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "[{{ m['content'] }}]{% endfor %}"
)


def test_where_a_template_has_no_system_turn_its_words_stand_before_the_users() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = NO_SYSTEM
    record = Record(instruction="Add", response="2", earlier=(Turn("system", "Be brief."),))
    assert shown(Template(tokenizer), record) == ("[Be brief.\n\nAdd]", "[2]")


def test_a_record_that_a_template_cannot_show_is_named_by_its_line() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = NO_SYSTEM
    record = Record(instruction="Add", response="2", earlier=(Turn("user", "Hi"),), line=7)
    with pytest.raises(UserError, match=r"line 7: Roles must alternate\."):
        Template(tokenizer).example(record, 0, 100)


@pytest.mark.parametrize(
    "program",
    [
        "{{ 1 / 0 }}",
        "{{ 1 + 'a' }}",
        "{{ range(10**9) | list }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 'x' * 10**8 }}",
        pytest.param("{{ ('x' * 3 * 10**9) | length }}", marks=linux_only),
    ],
)
def test_a_template_that_fails_in_any_way_fails_on_its_record(program: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = program
    with pytest.raises(UnshownError, match="line 7"):
        Template(tokenizer).prompt(Record(instruction="Add", response="2", line=7))


@pytest.mark.skipif(sys.platform == "win32", reason="no such timer")
@pytest.mark.parametrize("program", [ENDLESS, "{{ 9 ** (9 ** 9) }}"])
def test_a_template_that_does_not_end_is_stopped_and_no_further_record_is_tried(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edge_client.data.limits.SECONDS", 0.2)
    tokenizer = make_tokenizer()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    tokenizer.chat_template = program
    settings = TrainingSettings(batch_size=1, steps=1, epochs=None, max_length=100)
    with pytest.raises(UserError, match="does not end"):
        make_examples([RECORD], tokenizer, tmp_path, settings, lambda _: None, refuse=False)


@linux_only
def test_the_limits_on_a_template_are_gone_after_it() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGPROF)
    Template(make_tokenizer()).prompt(RECORD)
    assert (resource.getrlimit(resource.RLIMIT_DATA), signal.getsignal(signal.SIGPROF)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_without_a_template_alpacas_is_used() -> None:
    template = Template(make_tokenizer(chat=False))
    before, learned = shown(template, RECORD)
    assert before.startswith("Below is an instruction that describes a task, paired with an input")
    assert before.endswith("### Instruction:\nAdd\n\n### Input:\n1 1\n\n### Response:\n")
    assert learned == "2<end>"
    before, _ = shown(template, Record(instruction="Add", response="2"))
    assert before.endswith("appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Response:\n")


def test_the_prompt_has_the_same_tokens_as_when_an_answer_is_generated() -> None:
    template = Template(make_tokenizer())
    example = template.example(RECORD, 0, 1000)
    assert example is not None
    assert list(example.tokens[: example.learned]) == template.prompt(RECORD)


def test_inputs_are_learned_by_option_all_but_the_first_token() -> None:
    before, learned = shown(Template(make_tokenizer()), RECORD, train_on_inputs=True)
    assert (before, learned) == ("<", "user>Add\n\n1 1<end>\n<assistant>2<end>")


@pytest.mark.parametrize("train_on_inputs", [False, True])
def test_what_is_too_long_is_cut_at_its_end_and_dropped_if_no_answer_is_left(train_on_inputs: bool) -> None:
    template = Template(make_tokenizer())
    whole = template.example(RECORD, 0, 1000)
    assert whole is not None
    for length in range(8, len(whole.tokens) + 2):
        cut = template.example(RECORD, 0, length, train_on_inputs=train_on_inputs)
        if length <= whole.learned:
            assert cut is None
        else:
            assert cut is not None
            assert cut.tokens == whole.tokens[:length]
