"""Ctrl-C: the first time the client says that it stops, and does; the second time it is gone at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

PROGRAM = """
import asyncio, signal, subprocess, sys
from edge_client.cli.stopping import Stopping
from edge_client.cli.views import PlainView

async def work(stopping):
    stopping.stops(asyncio.current_task())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("child", child.pid, flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        if sys.argv[1] == "slow":
            await asyncio.Event().wait()
        child.kill()

signal.signal(signal.SIGINT, signal.default_int_handler)
with PlainView() as shown, Stopping(shown) as stopping:
    try:
        asyncio.run(work(stopping))
    except asyncio.CancelledError:
        print("ended", flush=True)
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    pipes = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PROGRAM, request.param], stdout=pipes, stderr=pipes, text=True) as one:
        yield one
        one.kill()


def said(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    return program.stdout.readline()


@pytest.mark.parametrize("program", ["quick"], indirect=True)
def test_the_first_time_what_is_begun_is_kept_and_that_is_said(program: "subprocess.Popen[str]") -> None:
    assert said(program).startswith("child")
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=300)
    assert out.startswith("Stopping: ")
    assert out.splitlines()[-1] == "ended"
    assert (program.returncode, err) == (0, "")


@pytest.mark.parametrize("program", ["slow"], indirect=True)
def test_the_second_time_it_is_gone_at_once_with_its_children_and_without_a_word(
    program: "subprocess.Popen[str]",
) -> None:
    child = int(said(program).split()[1])
    program.send_signal(signal.SIGINT)
    assert said(program).startswith("Stopping: ")
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=300)
    assert (program.returncode, out, err) == (130, "", "")
    end = time.monotonic() + 300
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.05)
