"""A server is killed at every change of its disk, in a real process, and started again: the sums stay exact.

The points are found by hooks on commits, writes, names and removals (``server_points``), not by guessing. By default
each is taken once; ``FEDIT_TESTS_IN_FULL=1`` takes the second and the third of a name as well: of another device, say.
"""

import asyncio
import os
from pathlib import Path

import numpy as np
from participants import plain_of, quick_client
from safetensors.numpy import load_file
from server_process import ServerProcess

from edge_client.client import Client, Contributed, RoundFinished, Sealed, Uploading
from fedit_shared.messages import CHUNK_SIZE

SIZE = 3
IN_FULL = bool(os.environ.get("FEDIT_TESTS_IN_FULL"))
LONGEST = 120
MESSAGES = 64 * 1024
"""More than all bodies of a round but the upload, each sent a few times."""


class Devices:
    """Real clients that work until they are stopped. ``points``: where the server was killed, one a line."""

    def __init__(self, server: ServerProcess, root: Path, points: Path) -> None:
        self._homes = [root / f"device{number}" for number in range(SIZE)]
        self._server = server
        self._points = points
        self._sizes: set[int] = set()
        self.ended = asyncio.Queue[RoundFinished]()
        self.sent: list[tuple[int, int]] = []
        """For each upload: the bytes that went up, and the kills while it was under way."""

    @property
    def kills(self) -> list[str]:
        return self._points.read_text().splitlines() if self._points.exists() else []

    async def work(self) -> None:
        links = await asyncio.to_thread(self._server.invite, "--count", SIZE)
        async with asyncio.TaskGroup() as group:
            for link, home in zip(links, self._homes, strict=True):
                group.create_task(self._one(quick_client(link, home)))

    async def _one(self, client: Client) -> None:
        before = 0
        async with client:
            async for event in client.run():
                match event:
                    case Sealed():
                        before = len(self.kills)
                    case Uploading():
                        self._sizes.add(event.total)
                    case Contributed():
                        self.sent.append((event.bytes_up, len(self.kills) - before))
                    case RoundFinished():
                        self.ended.put_nowait(event)

    def assert_exact(self) -> list[str]:
        """The outcomes of all rounds that have ended. Each is the exact sum over its survivors, or says why not."""
        outcomes = []
        for round in self._server.rounds():
            if not round["ended"]:
                continue
            outcomes.append(round["outcome"])
            if round["outcome"] != "published":
                assert round["reason"], round
                continue
            [cohort] = round["cohorts"]
            plain = [slots for home in self._homes if (slots := plain_of(home, cohort["cohort"])) is not None]
            assert len(plain) == len(cohort["survivors"]) == SIZE, round
            assert np.array_equal(load_file(cohort["sum"])["slots"], sum(plain)), round
        return outcomes

    def assert_little_was_sent_twice(self) -> None:
        [size] = self._sizes
        for sent, kills in self.sent:
            assert sent < size + kills * CHUNK_SIZE + MESSAGES, (sent, size, kills)


async def whole_round(devices: Devices, working: "asyncio.Task[None]") -> None:
    """Wait until a round has ended for all of them. Raises what they raise."""
    for _ in range(SIZE):
        heard, done, known = asyncio.ensure_future(devices.ended.get()), set[object](), -1
        while not done:
            assert len(devices.kills) > known, f"nothing comes after the kill at {devices.kills[-1]}"
            known = len(devices.kills)
            done, _ = await asyncio.wait([heard, working], timeout=LONGEST, return_when=asyncio.FIRST_COMPLETED)
        if working in done:
            await working


def test_a_server_killed_at_any_change_of_its_disk_goes_on_to_the_exact_sum(tmp_path: Path) -> None:
    points = tmp_path / "points"
    server = ServerProcess(tmp_path, target=SIZE, scale=300, muster_window="10min")
    server.program = "server_points"
    server.environment = {"FEDIT_POINTS": str(points), "FEDIT_POINT_TIMES": "3" if IN_FULL else "1"}
    devices = Devices(server, tmp_path, points)

    async def go() -> None:
        working = asyncio.create_task(devices.work())
        try:
            before = -1
            while len(devices.kills) > before:
                before = len(devices.kills)
                await whole_round(devices, working)
            await whole_round(devices, working)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    server.start()
    try:
        asyncio.run(go())
    finally:
        status = server.stop()
    assert status == 0
    outcomes = devices.assert_exact()
    assert outcomes[-1] == "published"
    devices.assert_little_was_sent_twice()
    for change in ("devices", "RoundOpened", "Mustered", "CohortsFormed", "Dealt", "SumOpened", "RoundEnded"):
        for when in ("before commit", "after commit"):
            assert any(when in point and change in point for point in devices.kills), (when, change)
    for change in ("replace blobs/adapters", "link blobs/cohorts/COHORT/uploads", "pwrite blobs/cohorts/COHORT"):
        assert any(f"after {change}" in point for point in devices.kills), change
