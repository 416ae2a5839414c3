"""The kernels that mask an update are compiled while it is trained, so that the upload does not wait for them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TRAIN_THEN_SEAL = """
import asyncio, sys
from hashlib import sha256
from pathlib import Path

import numpy as np
from cohorts import NOT_AFTER, Cohort

from edge_client.client.trainer import obtain_update
from edge_client.data import DataSource
from edge_client.state import FederationState, Preferences
from edge_client.training import Finished
from edge_client.yielding import ALWAYS, Gate, Observation
from fedit_shared import rounding
from fedit_shared.adapter import size
from fedit_shared.messages import Offer, encode
from fedit_shared.secagg import Contributor, RoundKey, Update, kernels


def compiled():
    return sum(
        len(value.signatures)
        for module in (rounding, kernels)
        for value in vars(module).values()
        if hasattr(value, "signatures")
    )


async def train(job):
    path = Path(job.work) / "delta"
    np.zeros(job.task.turn(job.round).dimension, "<f4").tofile(path)
    yield Finished(delta_path=str(path), examples=40, tokens=1, loss=1.5, steps=3, seconds=0.0, peak_bytes=0)


async def obtained(state, session):
    adapter = b"adapter"
    state.adapter_path(sha256(adapter).digest()).parent.mkdir(exist_ok=True)
    state.adapter_path(sha256(adapter).digest()).write_bytes(adapter)
    offer = Offer(
        task=encode(session.task), round=1, adapter=sha256(adapter).digest(), adapter_size=len(adapter),
        train_until=NOT_AFTER, not_after=NOT_AFTER, signature=bytes(64),
    )
    gate = Gate(ALWAYS, pause=lambda: None, observe=Observation, clock=lambda: 0.0, told=print)
    watch = asyncio.create_task(gate.watch())
    await obtain_update(
        offer, session.task, state=state, preferences=Preferences(data=DataSource(path="none"), min_survivors=3),
        transport=None, train=train, emit=lambda event: None,
        gate=gate,
    )
    watch.cancel()


before = compiled()
cohort = Cohort(5, dimension=30_000)
session = cohort.session()
with FederationState(Path(sys.argv[1])) as state:
    asyncio.run(obtained(state, session))
warmed = compiled()
device = cohort.devices[0]
Contributor(session, device.key).contribute(device.update, device.randomness, lambda rows: None)
print(before, warmed > 0, compiled() - warmed)
"""


def test_the_first_seal_after_a_training_compiles_nothing(tmp_path: Path):
    paths = os.pathsep.join([*filter(None, sys.path), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_THEN_SEAL, str(tmp_path / "state")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["0", "True", "0"], done.stderr
