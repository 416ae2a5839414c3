"""One client at a time; what is kept is kept; what must happen once happens once."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest

from edge_client import disk
from edge_client.data import DataSource
from edge_client.state import (
    Attempt,
    CorruptStateError,
    Ended,
    FederationState,
    Membership,
    Mustered,
    Past,
    Preferences,
    SpentError,
    UpdateFolder,
    state_folder,
)
from fedit_shared.errors import ConflictError, UserError
from fedit_shared.messages import Deal, Roster, Vote
from fedit_shared.secagg import ROUND_SECRET_SIZE

ADAPTER = b"a" * 32
TASK = sha256(b"task").digest()


def roster(body: bytes = b"roster", until: int = 5) -> Roster:
    return Roster(cohort=b"c" * 16, body=body, settings=b"s", signature=bytes(64), contribute_until=until)


def deal(body: bytes = bytes(128)) -> Deal:
    return Deal(cohort=b"c" * 16, body=body, signature=bytes(64), packets=b"p")


def begin(state: FederationState, round: int = 1) -> Attempt:
    mustered = Mustered(round=round, adapter=ADAPTER, task_hash=TASK, update="u", not_after=9, muster=b"m")
    return state.new_attempt(mustered, os.urandom(ROUND_SECRET_SIZE))


def trained(state: FederationState, delta: bytes = b"\0\0\0\0") -> UpdateFolder:
    update = state.new_update(ADAPTER, TASK)
    (update.work / "out").write_bytes(delta)
    update.finish(update.work / "out", examples=3, loss=1.5)
    return update


def test_a_second_client_on_the_same_folder_is_turned_away_with_advice(tmp_path: Path) -> None:
    with FederationState(tmp_path):
        script = (
            "import sys; from pathlib import Path\n"
            "from edge_client.state import BusyError, FederationState\n"
            "try:\n    FederationState(Path(sys.argv[1])).__enter__()\n"
            "except BusyError as error:\n    print(error); sys.exit(error.exit_code)\n"
        )
        second = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 7
        assert "Stop it first" in second.stdout
    with FederationState(tmp_path):
        pass


def test_the_lock_of_a_killed_client_is_free(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from edge_client.state import FederationState\n"
        "FederationState(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    with FederationState(tmp_path):
        pass


def test_the_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        first = state.identity.public
    with FederationState(tmp_path) as state:
        assert state.identity.public == first
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o600


def test_membership_and_preferences_come_back_as_they_were_kept(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        assert state.membership is None
        state.membership = member = Membership(federation=bytes(32), address="https://a:1", pin=None, name="n")
        state.preferences = wish = Preferences(data=DataSource(path="/d"), memory_bytes=2**32, min_survivors=9)
    with FederationState(tmp_path) as state:
        assert (state.membership, state.preferences) == (member, wish)


def test_a_round_may_end_while_the_next_ones_training_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[UpdateFolder] = []
    with FederationState(tmp_path) as state:
        attempt, update = begin(state), trained(state)
        update.spend(attempt.name)
        other, sync = Thread(target=lambda: begun.append(state.new_update(ADAPTER, TASK))), disk._sync_folder

        def overtaken(folder: Path) -> None:
            if folder == update.folder and other.ident is None:
                other.start()
                other.join(0.5)  # it ends only where nothing keeps it from going on
            sync(folder)

        monkeypatch.setattr(disk, "_sync_folder", overtaken)
        state.end(attempt, published())
        other.join()
        assert [each.name for each in state.updates] == [each.name for each in begun]


def test_a_damaged_file_is_named_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "membership").write_bytes(b"\xc1")
    with FederationState(tmp_path) as state, pytest.raises(CorruptStateError, match="membership is damaged"):
        _ = state.membership
    (tmp_path / "preferences").write_bytes(b"\xc1")
    with FederationState(tmp_path) as state, pytest.raises(CorruptStateError, match="preferences is damaged") as caught:
        _ = state.preferences
    assert "settings alone" in caught.value.advice, "nobody has to leave the federation for them"


def test_a_round_key_is_bound_to_one_roster(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        attempt = begin(state)
        attempt.bind(roster())
        attempt.bind(roster(until=77))  # the same cohort, with more time
        with pytest.raises(ConflictError, match="second roster"):
            attempt.bind(roster(b"another"))
        bound = attempt.roster()
        assert bound is not None
        assert bound.body == b"roster"


def test_one_secret_masks_one_vector(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        attempt = begin(state)
        with attempt.sealing() as file:
            file.write(b"vector")
        attempt.seal(deal())
        with pytest.raises(ConflictError, match="one secret masks one vector"), attempt.sealing():
            pass
        with pytest.raises(ConflictError, match="second deal"):
            attempt.seal(deal(bytes([1]) * 128))
        assert attempt.vector.read_bytes() == b"vector"


def test_one_vote_is_cast_for_a_cohort(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        attempt = begin(state)
        first = Vote(cohort=b"c" * 16, survivors_hash=bytes(32), signature=bytes(64))
        attempt.cast(first)
        attempt.cast(first)
        with pytest.raises(ConflictError, match="second vote"):
            attempt.cast(Vote(cohort=b"c" * 16, survivors_hash=b"x" * 32, signature=bytes(64)))
        assert attempt.vote() == first


def test_a_spent_delta_is_given_to_nobody_until_votes_give_it_back(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        update, attempt = trained(state, b"\1\0\0\0"), begin(state)
        assert update.delta() == b"\1\0\0\0"
        update.spend(attempt.name)
        update.spend(attempt.name)
        with pytest.raises(SpentError):
            update.spend("000001-2")
    with FederationState(tmp_path) as state:
        (update,) = state.updates
        with pytest.raises(SpentError):
            update.delta()
        update.restore()
        assert update.delta() == b"\1\0\0\0"


def published(number: int = 1) -> Ended:
    return Ended(round=number, outcome="published", counted=True, survivors=3, members=3, bytes_up=7, time=9)


def test_a_delta_that_was_sent_leaves_the_disk_when_its_round_is_over(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        update, attempt = trained(state, b"\1\0\0\0"), begin(state)
        update.spend(attempt.name)
        assert (update.folder / "delta").exists(), "votes may still give it back"
        state.end(attempt, published())
        assert not (update.folder / "delta").exists()
        assert update.spent_by == attempt.name
    assert b"\1\0\0\0" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_delta_stays_that_was_given_back_or_left_with_another_round(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        update, first, second = trained(state), begin(state), begin(state, 2)
        state.end(first, published())
        assert update.delta(), "never sent"
        update.spend(second.name)
        update.restore()
        state.end(begin(state, 3), published(3))
        assert update.delta(), "given back"
        update.spend(second.name)
    with FederationState(tmp_path) as state:
        state.end(begin(state, 4), published(4))
        [update] = state.updates
        assert (update.folder / "delta").exists(), "its round is open"


def test_a_kill_at_a_rounds_end_leaves_no_delta_for_longer_than_to_the_next_start(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        update, attempt = trained(state), begin(state)
        update.spend(attempt.name)
        attempt.end(published())  # and here everything stops
        assert (update.folder / "delta").exists()
    with FederationState(tmp_path):
        assert not (update.folder / "delta").exists()


def test_a_damaged_delta_is_not_sent(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        update = trained(state)
        (update.folder / "delta").write_bytes(b"\1\0\0\0")
        with pytest.raises(CorruptStateError):
            update.delta()


def test_a_new_update_from_the_same_adapter_has_another_number_and_replaces_the_old(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        names = [state.new_update(ADAPTER, TASK).name for _ in range(3)]
        assert [name.rpartition("-")[2] for name in names] == ["1", "2", "3"]
        assert len(state.updates) == 1


def test_no_two_updates_have_the_same_seed_though_another_adapter_came_in_between(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        made = [state.new_update(adapter, TASK) for adapter in (ADAPTER, b"other" + ADAPTER[5:], ADAPTER)]
        assert made[0].name == made[2].name, "the folder does not remember; the seed has to differ all the same"
        seeds = []
        for adapter in (ADAPTER, b"other" + ADAPTER[5:], ADAPTER):
            begun = state.new_update(adapter, TASK).begun()
            assert begun is not None
            seeds.append(begun.seed)
        assert len(set(seeds)) == 3
        assert all(0 <= seed < 2**31 for seed in seeds)


def test_an_ended_attempt_keeps_no_key_and_its_record_stays(tmp_path: Path) -> None:
    ended = Ended(round=1, outcome="published", counted=True, survivors=3, members=3, bytes_up=7, time=1_700_000_000)
    with FederationState(tmp_path) as state:
        attempt = begin(state)
        attempt.bind(roster())
        assert attempt.alive
        attempt.end(ended)
        assert not attempt.alive
        assert [path.name for path in attempt.folder.iterdir()] == ["ended"]
    with FederationState(tmp_path) as state:
        assert [attempt.ended() for attempt in state.attempts] == [ended]


def test_a_vector_that_the_server_has_is_not_kept(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        attempt = begin(state)
        with attempt.sealing() as file:
            file.write(b"vector")
        attempt.seal(deal())
        attempt.passed(Past(step="contributed", bytes_up=5))
        assert not attempt.vector.exists()
        assert attempt.deal() == deal()


def test_what_was_left_unfinished_is_gone_after_the_next_start(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        kept = begin(state)
        (tmp_path / "rounds" / "000001-2").mkdir()
        (tmp_path / "rounds" / "000001-2" / "key").write_bytes(b"k")
        (tmp_path / "updates" / "x-1" / "work").mkdir(parents=True)
        (kept.folder / "vector.tmp").write_bytes(b"half")
    with FederationState(tmp_path) as state:
        assert [attempt.name for attempt in state.attempts] == [kept.name]
        assert state.updates == []
        assert sorted(path.name for path in kept.folder.iterdir()) == ["key", "mustered"]


def test_rounds_and_updates_are_listed_in_order_beyond_nine(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        for round in (2, *[1] * 11):
            begin(state, round)
        names = [attempt.name for attempt in state.attempts]
        assert names == [f"000001-{number}" for number in range(1, 12)] + ["000002-1"]


def test_an_invitation_that_failed_hides_no_federation_that_was_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDIT_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for federation, key in ((b"\1" * 32, None), (b"\2" * 32, b"k" * 32)):
        with FederationState(state_folder(federation)) as state:
            state.membership = Membership(federation=federation, address="https://a:1", pin=None, server_key=key)
    assert state_folder(None) == state_folder(b"\2" * 32)


def test_the_folder_is_the_given_one_then_the_environments_then_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDIT_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    own = state_folder(b"\1" * 32)
    assert own.name == "01" * 16
    with pytest.raises(UserError, match="has not joined a federation"):
        state_folder(None)
    for federation in (b"\1" * 32, b"\2" * 32):
        with FederationState(state_folder(federation)) as state:
            state.membership = Membership(federation=federation, address="https://a:1", pin=None, server_key=b"k" * 32)
        if federation == b"\1" * 32:
            assert state_folder(None) == own
    with pytest.raises(UserError, match="several federations"):
        state_folder(None)
    monkeypatch.setenv("FEDIT_STATE", "")
    with pytest.raises(UserError, match="several federations"):
        state_folder(None)
    monkeypatch.setenv("FEDIT_STATE", str(tmp_path / "env"))
    assert state_folder(None) == tmp_path / "env"
    assert state_folder(None, tmp_path / "given") == tmp_path / "given"
