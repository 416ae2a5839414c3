"""Several strategies in one run: each an arm of its own, with the same numbers under masks and without them."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from experiments import make_home

from agg_server.adapters.publishing import adapter_key
from benchmarks.fedit import __main__ as command
from benchmarks.fedit.export import export
from benchmarks.fedit.journal import BASE, CENTRALIZED, FEDERATED, Entry, Journal, Judged, read_journal
from benchmarks.fedit.report import loss_of, summarize
from benchmarks.fedit.settings import load_experiment, parse_experiment
from edge_client.training.local import Workplace
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.parameters import upload_size
from fedit_shared.strategies import REFUSED, Role, Turn

SETTINGS = """
[run]
name = "tiny"
[data]
files = ["data.jsonl"]
held_out = 6
[model]
id = "model"
[clients]
count = 4
fraction = 0.75
[partition]
kind = "iid"
[federation]
rounds = 2
sum = "SUM"
strategy = "rolora"
[training]
epochs = 1
batch_size = 4
learning_rate = 0.01
max_length = 200
[adapter]
rank = 4
modules = ["q_proj", "v_proj"]
[arms]
strategies = ["fedavg", "ffa-lora", "rolora", "shared-a"]
centralized = false
local = []
[evaluation]
every = 2
personal = 2
resamples = 200
[machine]
device = "cpu"
threads = 1
"""
ARMS = {FEDERATED: "rolora"} | {f"{FEDERATED} ({name})": name for name in ("fedavg", "ffa-lora", "shared-a")}
SHARED = f"{FEDERATED} (shared-a)"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("experiment"), 48)


def train(home: Path, how: str, out: str) -> Path:
    (home / f"{how}.toml").write_text(SETTINGS.replace("SUM", how))
    command.train(load_experiment(home / f"{how}.toml"), home / out, quiet=True)
    return home / out


@pytest.fixture(scope="module")
def quantized(home: Path) -> Path:
    return train(home, "quantized", "quantized")


def untimed(folder: Path) -> list[Entry]:
    return [msgspec.structs.replace(entry, seconds=0) for entry in read_journal(folder)[1]]


def vector(folder: Path, version: str) -> np.ndarray:
    return wire.read_adapter((folder / "blobs" / adapter_key(bytes.fromhex(version))).read_bytes())[1]


def test_masked_and_quantized_sums_give_the_same_numbers_under_every_strategy(home: Path, quantized: Path) -> None:
    assert untimed(train(home, "masked", "masked")) == untimed(quantized)


def test_each_strategy_is_an_arm_in_which_just_its_tensors_move_and_are_sent(home: Path, quantized: Path) -> None:
    entries = untimed(quantized)
    assert sorted((e.arm, e.round) for e in entries) == sorted([(BASE, 0), *((arm, n) for arm in ARMS for n in (1, 2))])
    [path] = (quantized / "adapter").rglob(wire.FILE_NAME)
    manifest, start = wire.read_adapter(path.read_bytes())
    is_a = np.repeat([".lora_A." in tensor.name for tensor in manifest], [tensor.size for tensor in manifest])
    a, b = int(is_a.sum()), int((~is_a).sum())
    assert a != b
    moves = {
        "fedavg": [(True, True)] * 2,
        "ffa-lora": [(False, True)] * 2,
        "rolora": [(False, True), (True, False)],
        "shared-a": [(True, False)] * 2,
    }
    for arm, strategy in ARMS.items():
        before, uploaded = start, 0
        for entry, (moves_a, moves_b) in zip((e for e in entries if e.arm == arm), moves[strategy], strict=True):
            after = vector(quantized, entry.adapter)
            assert bool((after != before)[is_a].any()) is moves_a, (arm, entry.round)
            assert bool((after != before)[~is_a].any()) is moves_b, (arm, entry.round)
            uploaded += 3 * upload_size(a * moves_a + b * moves_b, 16)
            assert entry.uploaded == uploaded
            before = after
    assert len({e.tokens for e in entries if e.round == 2}) == 1
    assert len({e.clients for e in entries if e.round == 2}) == 1


def test_private_tensors_go_on_from_round_to_round_and_personal_models_are_judged(quantized: Path) -> None:
    entries = untimed(quantized)
    base = next(e.judged for e in entries if e.arm == BASE)
    first, second = (e for e in entries if e.arm == SHARED)
    assert set(first.private) == {str(client) for client in first.clients}
    both = set(first.clients) & set(second.clients)
    assert both
    for client in first.private:
        moved = first.private[client] != second.private[client]
        assert moved is (int(client) in second.clients)
    assert len(set(second.private.values())) == len(second.private)
    assert base is not None
    assert second.judged is not None
    assert sum(second.judged.losses) < sum(base.losses), "the published adapter alone is the base model"


def test_killed_amid_a_private_round_it_goes_on_to_the_same_results(
    home: Path, quantized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, begin, killed, starts = Journal.add, Workplace.begin, [], []

    def watched(self: Workplace, vector: np.ndarray, turn: Turn, *others: Any, **more: Any) -> Any:
        if Role.KEEP in turn.roles:
            starts.append(turn.take(vector, Role.KEEP).astype("<f4").tobytes())
        return begin(self, vector, turn, *others, **more)

    def dies(self: Journal, entry: Entry) -> None:
        if (entry.arm, entry.round) == (SHARED, 2) and not killed:
            killed.append(entry)
            raise KeyboardInterrupt
        add(self, entry)

    monkeypatch.setattr(Journal, "add", dies)
    monkeypatch.setattr(Workplace, "begin", watched)
    with pytest.raises(KeyboardInterrupt):
        train(home, "quantized", "killed")
    assert untimed(train(home, "quantized", "killed")) == untimed(quantized)
    first, second = (e for e in untimed(quantized) if e.arm == SHARED)
    again = [first.private.get(str(client)) for client in second.clients]
    began = [sha256(values).hexdigest() for values in starts]
    assert len(began) == 3 + 3, "what was trained before the kill is not trained again"
    assert all(name in (None, found) for name, found in zip(again, began[3:], strict=True))
    assert len(set(began[:3])) == 1


def test_differences_and_the_gap_are_against_the_main_strategy_and_other_ones_are_no_local_arms(
    quantized: Path,
) -> None:
    header, entries = read_journal(quantized)
    ends = {entry.arm: entry.judged for entry in entries if entry.judged}
    base, best = ends[BASE], min(ends.values(), key=loss_of)
    alone = Judged(losses=tuple(0.999 * loss for loss in base.losses), tokens=base.tokens)  # worse than any federation
    whole = Judged(losses=tuple(0.9 * loss for loss in best.losses), tokens=best.tokens)
    more = [Entry(arm="local 0", round=2, judged=alone), Entry(arm=CENTRALIZED, round=2, judged=whole)]
    summary = summarize(header, [*entries, *more], 200, 1)
    assert list(summary["arms"]) == [BASE, *ARMS, CENTRALIZED, "local 0"]
    others = [arm for arm in summary["arms"] if arm != FEDERATED]
    assert list(summary["differences"]) == [f"{arm} - {FEDERATED}" for arm in others]
    gap = (sum(alone.losses) - sum(ends[FEDERATED].losses)) / (sum(alone.losses) - sum(whole.losses))
    assert summary["from_local"]["closed"]["value"] == pytest.approx(gap, abs=1e-4)


def test_there_is_no_model_for_everybody_where_clients_keep_a_part(quantized: Path, tmp_path: Path) -> None:
    header, entries = read_journal(quantized)
    done = export(quantized, tmp_path, summarize(header, entries, 200, 1))
    assert [folder.name for folder in done.folders] == ["federated", "federated-fedavg", "federated-ffa-lora"]
    assert done.left == [SHARED]
    assert "federated by `ffa-lora`" in (done.folders[2] / "README.md").read_text()
    assert "federated by `rolora`" in (done.folders[0] / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_strategy_that_is_not_offered_is_refused_with_its_line_as_by_the_server(name: str) -> None:
    text = SETTINGS.replace("SUM", "exact")
    with pytest.raises(UserError, match=rf"line 17: \[federation\] {name} is not offered: .*arXiv"):
        parse_experiment(text.replace('strategy = "rolora"', f'strategy = "{name}"'))
    with pytest.raises(UserError, match=rf"line 27: \[arms\] {name} is not offered"):
        parse_experiment(text.replace('strategies = ["fedavg"', f'strategies = ["{name}"'))
