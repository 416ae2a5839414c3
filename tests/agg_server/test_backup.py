"""Backups are whole, and what is put back misleads no device, whatever it has seen since."""

import asyncio
import shutil
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from peers import Peer, Seat
from served import assert_exact, enrolled
from server_process import Said, ServerProcess, command

from agg_server.upkeep.backup import MANIFEST, Manifest
from fedit_shared.messages import Closed, Result, Roster

PEERS = 4
MOMENTS = ("muster", "contribute", "prepare", "vote", "answer", "published")


class Told:
    """A federation that took a backup at every moment of its first round, and then went on for another one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = (
            ServerProcess(root / "server", target=PEERS, optimizer_free=True)
            if False
            else ServerProcess(root / "server", target=PEERS)
        )
        self.seats: list[Seat] = []
        self.later: list[Seat] = []

    def back_up(self, moment: str) -> None:
        made = command("backup", self.server.folder, self.root / moment)
        assert made.returncode == 0, made.stderr

    async def happen(self, stack: AsyncExitStack) -> list[Peer]:
        peers = await enrolled(stack, self.server, PEERS)
        self.seats = [await peer.muster() for peer in peers[:2]]
        self.back_up("muster")
        self.seats += [await peer.muster() for peer in peers[2:]]
        there = list(zip(peers, self.seats, strict=True))
        for peer, seat in there:
            await peer.take_seat(seat)
        await peers[0].contribute(self.seats[0])
        self.back_up("contribute")
        for peer, seat in there[1:]:
            await peer.contribute(seat)
        for moment, act in (("prepare", Peer.report), ("vote", Peer.vote), ("answer", Peer.answer)):
            await act(peers[0], self.seats[0])
            self.back_up(moment)
            for peer, seat in there[1:]:
                await act(peer, seat)
        result = await peers[0].wait_for(self.seats[0], "answered")
        assert result.outcome == "published"
        self.back_up("published")
        self.later = [await peer.muster(after=1) for peer in peers[:2]]
        assert {seat.offer.adapter for seat in self.later} == {result.adapter}
        return peers


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    told = Told(tmp_path_factory.mktemp("backup"))
    told.server.configure("server_step", optimizer="fedavgm")
    told.server.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            await told.happen(stack)

    try:
        asyncio.run(run())
    finally:
        told.server.kill()
    return told


def put_back(told: Told, moment: str, folder: Path) -> Said:
    return command("restore", told.root / moment, folder)


def said(answer: Said) -> str:
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_was_open_at_the_backup_is_given_up_and_numbers_that_may_have_been_given_since_are_left_out(
    told: Told, tmp_path: Path, moment: str
):
    words = said(put_back(told, moment, tmp_path / "back"))
    back = ServerProcess.adopt(tmp_path / "back", told.server.port)
    rounds = back.rounds()
    first, last = rounds[0], rounds[-1]
    expected = {"muster": "abandoned", "published": "published"}.get(moment, "failed")
    assert first["outcome"] == expected
    assert all(round["phase"] == "over" and all(c["outcome"] for c in round["cohorts"]) for round in rounds)
    assert (last["outcome"], last["round"]) == ("abandoned", rounds[-2]["round"] + 1000)
    assert "put back to its backup of" in last["reason"]
    assert f"above {last['round']}" in words
    assert said(command("verify", tmp_path / "back")).endswith("all whole.\n")


@pytest.mark.parametrize("moment", ["prepare", "published"])
def test_devices_that_saw_later_versions_take_part_again_and_the_sum_is_exact(told: Told, tmp_path: Path, moment: str):
    said(put_back(told, moment, tmp_path / "back"))
    back = ServerProcess.adopt(tmp_path / "back", told.server.port)
    back.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            [link] = back.invite("--uses", PEERS)
            peers = [await stack.enter_async_context(Peer(link, i)) for i in range(PEERS)]
            for peer in peers:  # known from before: nobody has to join again
                peer.server_key = (await peer.enrol()).server_key
            for peer, seat in zip(peers, told.seats, strict=True):
                asked = await peer.poll(seat, "answered")
                assert isinstance(asked, Result), "the cohort was known at the backup: its end is proved"
                assert (asked.outcome, asked.certificate != b"") == {
                    "prepare": ("failed", False), "published": ("published", True)
                }[moment]  # fmt: skip
            for peer, seat in zip(peers, told.later, strict=False):
                assert isinstance(await peer.poll(seat, "mustered"), Closed), (
                    "no round of that number, and none will be"
                )
            seats = [await peer.muster() for peer in peers]
            assert {seat.offer.round for seat in seats} == {back.rounds()[-1]["round"]}
            for peer, seat in zip(peers, seats, strict=True):
                assert isinstance(await peer.take_seat(seat), Roster)
                await peer.contribute(seat)
            results = await asyncio.gather(*(peer.finish(seat) for peer, seat in zip(peers, seats, strict=True)))
            assert {result.outcome for result in results} == {"published"}
            number = next(i for i, r in enumerate(back.rounds(), 1) if r["round"] == seats[0].offer.round)
            assert_exact(back, number, seats)

    try:
        asyncio.run(run())
    finally:
        back.stop()


def manifest(backup: Path) -> Manifest:
    return msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)


def test_a_backup_has_keys_settings_versions_states_and_sums_and_is_its_owners_alone(told: Told):
    backup = told.root / "published"
    kinds = {name.split("/")[0] for name in manifest(backup).files}
    assert kinds == {"federation.toml", "keys", "tls", "adapter", "database.sqlite3", "blobs"}
    blobs = [name for name in manifest(backup).files if name.startswith("blobs/")]
    assert sum(name.endswith("fedavgm-fedavg") for name in blobs) == 1
    assert sum(name.startswith("blobs/adapters/") and name.endswith(".safetensors") for name in blobs) == 2
    assert sum(name.endswith("sum.safetensors") for name in blobs) == 1
    assert not any("uploads" in name or "packets" in name for name in manifest(told.root / "answer").files)
    for path in [backup, *backup.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def refused(answer: Said, *words: str) -> None:
    assert answer.returncode in (1, 2)
    assert answer.stderr.count("\n") == 1, answer.stderr
    for word in words:
        assert word in answer.stderr


def test_a_backup_that_is_damaged_unfinished_or_none_is_refused_and_nothing_is_left(told: Told, tmp_path: Path):
    backup, folder = tmp_path / "backup", tmp_path / "back"
    shutil.copytree(told.root / "published", backup)
    file = next(path for path in (backup / "blobs" / "adapters").iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(command("restore", backup, folder), str(file), "damaged")
    file.unlink()
    refused(command("restore", backup, folder), str(file), "missing")
    file.write_bytes(whole)
    (backup / MANIFEST).write_bytes((backup / MANIFEST).read_bytes().replace(b'"adapter/', b'"../adapter/'))
    refused(command("restore", backup, folder), "outside")
    (backup / MANIFEST).unlink()
    refused(command("restore", backup, folder), "not a finished backup")
    assert not folder.exists()


def test_only_a_new_folder_is_restored_into_and_backed_up_into(told: Told, tmp_path: Path):
    folder = tmp_path / "served"
    said(put_back(told, "published", folder))
    back = ServerProcess.adopt(folder, told.server.port)
    refused(put_back(told, "published", folder), "not an empty folder")
    back.start()
    try:
        refused(put_back(told, "published", folder), "is being served")
    finally:
        back.stop()
    refused(command("backup", folder, told.root / "published"), "not an empty folder")
    for name in ("serve", "verify", "invite", "status", "rounds"):  # it may name a database that is served elsewhere
        refused(command(name, told.root / "published"), "is a backup", "fedit-server restore")


def test_a_blob_that_is_damaged_is_named_by_backup_and_by_verify(told: Told, tmp_path: Path):
    folder = tmp_path / "back"
    said(put_back(told, "published", folder))
    [cohort] = ServerProcess.adopt(folder, told.server.port).rounds()[0]["cohorts"]
    opened = Path(cohort["sum"])
    whole = opened.read_bytes()
    opened.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    made = command("backup", folder, tmp_path / "damaged")
    assert made.returncode == 1
    assert f"The opened sum of cohort {cohort['cohort'][:16]} (round 1) is damaged" in made.stderr
    assert (tmp_path / "damaged" / MANIFEST).exists(), "everything else is kept"
    found = command("verify", folder)
    assert found.returncode == 1
    assert "sum.safetensors" in found.stdout
    said(command("restore", tmp_path / "damaged", tmp_path / "again"))
    opened.write_bytes(whole)
    said(command("verify", folder))


def test_a_backup_is_put_into_other_places_which_the_settings_then_name(told: Told, tmp_path: Path):
    places = ("--database", "sqlite:///other.sqlite3", "--blobs", tmp_path / "elsewhere")
    said(command("restore", told.root / "published", tmp_path / "back", *places))
    assert (tmp_path / "back" / "other.sqlite3").exists()
    assert not (tmp_path / "back" / "server.sqlite3").exists()
    assert not (tmp_path / "back" / "blobs").exists()
    assert (tmp_path / "elsewhere" / "adapters").is_dir()
    assert ServerProcess.adopt(tmp_path / "back", told.server.port).rounds()[0]["outcome"] == "published"
    assert "all whole" in said(command("verify", tmp_path / "back"))


def test_what_is_in_use_is_left_alone_and_another_place_is_advised(told: Told, tmp_path: Path):
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").touch()
    (tmp_path / "used.sqlite3").touch()
    backup, back, database = told.root / "published", tmp_path / "back", f"sqlite:///{tmp_path / 'used.sqlite3'}"
    refused(command("restore", backup, back, "--blobs", used), "is not empty", "--blobs WHERE")
    places = ("--blobs", tmp_path / "new", "--database", database)
    refused(command("restore", backup, back, *places), "is not empty", "--database URL")
    assert [path.name for path in used.iterdir()] == ["file"]
    assert not (tmp_path / "new").exists()
    said(command("restore", backup, back, *places[:2]))
