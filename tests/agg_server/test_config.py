"""The settings file: what it says, and what a mistake in it is answered with."""

from pathlib import Path

import pytest

from agg_server.adapters.optimizer import ServerStep
from agg_server.config import Config, host_and_port, load_config, parse_config
from agg_server.template import Values, render
from fedit_shared.errors import UserError

BASE = '[federation]\nname = "f"\n[server]\naddress = "https://host:8443"\n[model]\nid = "m"\n'
VALUES = Values(
    name='a "quoted" name',
    rounds=3,
    address="https://host:8443",
    listen="0.0.0.0:8443",
    certificate="tls/certificate.pem",
    key="tls/key.pem",
    pin=True,
    model="org/model",
    revision="",
    cohort_min=3,
    cohort_target=5,
)


def refusal(text: str) -> str:
    with pytest.raises(UserError) as refused:
        parse_config(text)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_the_template_is_valid_and_says_what_was_filled_in():
    config = parse_config(render(VALUES))
    assert config.federation.name == 'a "quoted" name'
    assert (config.federation.rounds, config.round.cohort_target, config.model.id) == (3, 5, "org/model")


def test_every_setting_stands_in_the_template_with_its_default():
    written = parse_config(render(VALUES))
    lines = render(VALUES).splitlines()
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line and line[2].islower() else line
        for line in lines
    )
    for alternative in ("steps", "minutes"):
        uncommented = uncommented.replace(f"\n{alternative} = ", f"\n# {alternative} = ")
    uncommented = uncommented.replace('metrics = "127.0.0.1:9464"', 'metrics = ""')
    assert parse_config(uncommented) == written
    for section, kind in Config.__annotations__.items():
        body = render(VALUES).partition(f"[{section}]\n")[2].partition("\n[")[0]
        for key in kind.__struct_fields__:
            assert f"\n{key} = " in f"\n{body}" or f"\n# {key} = " in f"\n{body}", f"[{section}] {key}"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("[round]\ncohort_mni = 3\n", ["line 8", "cohort_mni", "cohort_min"]),
        ("[rond]\ncohort_min = 3\n", ["line 7", "[rond]", "'round'"]),
        ("[round]\ncohort_min = 2\n", ["line 8", "cohort_min", ">= 3"]),
        ('[round]\n\ncohort_min = "three"\n', ["line 9", "cohort_min", "expected int"]),
        ("[round]\nmuster_window = 30\n", ["line 8", "muster_window", "30min"]),
        ('[round]\nmuster_window = "soon"\n', ["line 8", "muster_window", "30min"]),
        ("[round]\nclip = 0\n", ["line 8", "clip"]),
        ("[round]\nclip = inf\n", ["line 8", "clip"]),
        ('[round]\ntrain_window = "999999999d"\n', ["line 8", "train_window", "366d"]),
        ("[training]\nlearning_rate = inf\n", ["line 8", "learning_rate"]),
        ("[training]\nepochs = inf\n", ["line 8", "epochs"]),
        ("[server_step]\nlearning_rate = inf\n", ["line 8", "learning_rate"]),
        ("[round]\nslot_bits = 24\nfraction = 1.5\n", ["line 9", "fraction", "<= 1.0"]),
        ("[round]\ncohort_min = 9\ncohort_max = 5\n", ["line 9", "cohort_max"]),
        ("[round]\ncohort_max = 255\nslot_bits = 12\nmax_weight = 16\n", ["line 9", "too small for 255"]),
        ("[training]\nsteps = 3\nepochs = 1.0\n", ["exactly one"]),
        ('[server_step]\noptimizer = "fedavgg"\n', ["line 8", "fedavg"]),
        (
            '[training]\nlearning_rate = 1e-3\nsteps = 4\n[server_step]\noptimizer = "fedadam"\n',
            ["line 11", "fedadam needs a learning_rate", "0.004"],
        ),
        ('[server_step]\nbeta1 = 0.5\noptimizer = "fedyogi"\n', ["line 9", "fedyogi needs a learning_rate"]),
        ("[round\n", ["line 7"]),
    ],
)
def test_a_mistake_is_answered_with_its_line_and_what_is_allowed(lines: str, expected: list[str]):
    message = refusal(BASE + lines)
    for word in expected:
        assert word in message


@pytest.mark.parametrize("address", ["http://host", "host:8443", "https://host/path", "https://"])
def test_an_address_that_is_no_https_origin_is_refused(address: str):
    assert "address" in refusal(BASE.replace("https://host:8443", address))


def test_a_missing_section_or_key_is_named():
    assert "[model]" in refusal(BASE.partition("[model]")[0])
    assert "name" in refusal(BASE.replace('name = "f"', ""))


def test_steps_or_minutes_alone_replace_the_default_epoch():
    assert parse_config(BASE).training.epochs == 1.0
    training = parse_config(BASE + "[training]\nsteps = 20\n").training
    assert (training.steps, training.epochs) == (20, None)


def test_a_folder_without_settings_is_named_with_what_to_do(tmp_path: Path):
    with pytest.raises(UserError, match="fedit-server init"):
        load_config(tmp_path / "federation.toml")


def test_settings_are_immutable():
    with pytest.raises(AttributeError):
        parse_config(BASE).round.cohort_min = 2
    assert parse_config(BASE).server_step == ServerStep(optimizer="fedavg", learning_rate=1.0)


def test_an_adaptive_step_is_taken_with_the_learning_rate_that_it_is_given():
    step = parse_config(BASE + '[server_step]\noptimizer = "fedadam"\nlearning_rate = 1.0\n').server_step
    assert (step.optimizer, step.learning_rate) == ("fedadam", 1.0)


def test_listening_addresses_are_read_with_ipv6():
    assert host_and_port("[::1]:80") == ("::1", 80)
    for wrong in ("host", ":80", "host:port", "a/b:1"):
        with pytest.raises(ValueError, match="not HOST:PORT"):
            host_and_port(wrong)
