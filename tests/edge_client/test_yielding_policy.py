"""When training may run: the owner's word and the hours at once, what is seen of the machine only once it lasts."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.state import Pause
from edge_client.yielding import ALWAYS, Observation, Standing, When, judge, parse_when
from edge_client.yielding.policy import CALM_SECONDS, LASTING_SECONDS, LOOK_SECONDS
from fedit_shared.errors import UserError

QUIET = Observation(cpu_others=0.02, gpu_others=0.0, input_age=1000.0)
IDLE = parse_when(["idle"])
NOON = datetime(2026, 5, 4, 12, 0).timestamp()


def at(clock: str, day: int = 4) -> float:
    hour, minute = map(int, clock.split(":"))
    return datetime(2026, 5, day, hour, minute).timestamp()


class Watched:
    """A machine that is looked at every LOOK_SECONDS."""

    def __init__(self, when: When, seen: Observation = QUIET) -> None:
        self.when = when
        self.now = NOON
        self.standing = judge(when, self.now, pause=None, seen=seen, before=None)
        self.turns = 0

    def see(self, seen: Observation, seconds: float) -> Standing:
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.now += LOOK_SECONDS
            before, self.standing = (
                self.standing,
                judge(self.when, self.now, pause=None, seen=seen, before=self.standing),
            )
            self.turns += before.may_work != self.standing.may_work
        return self.standing


@pytest.mark.parametrize(
    ("hinders", "words"),
    [
        ({"cpu_others": 0.6}, "processor"),
        ({"gpu_others": 0.5}, "graphics card"),
        ({"input_age": 0.5}, "keyboard or mouse"),
    ],
)
def test_a_machine_in_use_stops_training_and_a_calm_one_lets_it_run_again(
    hinders: dict[str, float], words: str
) -> None:
    machine, busy = Watched(IDLE), replace(QUIET, **hinders)
    assert machine.standing.may_work
    stopped = machine.see(busy, LASTING_SECONDS + 2 * LOOK_SECONDS)
    assert not stopped.may_work
    assert words in stopped.reason
    assert not machine.see(QUIET, CALM_SECONDS - 2 * LOOK_SECONDS).may_work
    assert machine.see(QUIET, 4 * LOOK_SECONDS).may_work
    assert machine.turns == 2


def test_a_short_load_does_not_stop_training_and_a_short_calm_does_not_start_it() -> None:
    machine, busy = Watched(IDLE), replace(QUIET, cpu_others=0.9)
    for _ in range(20):
        machine.see(busy, LOOK_SECONDS)
        machine.see(QUIET, LOOK_SECONDS)
    assert (machine.standing.may_work, machine.turns) == (True, 0)
    machine.see(busy, 10 * LOOK_SECONDS)
    for _ in range(20):
        machine.see(QUIET, CALM_SECONDS - 2 * LOOK_SECONDS)
        machine.see(busy, LOOK_SECONDS)
    assert (machine.standing.may_work, machine.turns) == (False, 1)


def test_a_load_between_the_two_limits_changes_nothing() -> None:
    for before in (True, False):
        machine = Watched(IDLE, QUIET if before else replace(QUIET, cpu_others=1.0))
        assert machine.see(replace(QUIET, cpu_others=0.2, gpu_others=0.15), 10 * CALM_SECONDS).may_work is before


def test_what_cannot_be_told_hinders_nothing() -> None:
    assert Watched(IDLE, Observation()).standing.may_work


def test_a_battery_stops_training_that_is_for_a_charging_machine_only() -> None:
    unplugged = replace(QUIET, on_battery=True)
    assert Watched(IDLE, unplugged).standing.may_work
    machine = Watched(parse_when(["charging"]))
    busy = replace(QUIET, cpu_others=1.0, input_age=0.0)
    assert machine.see(busy, 100).may_work, "nobody asked for an idle machine"
    stopped = machine.see(unplugged, LASTING_SECONDS + 2 * LOOK_SECONDS)
    assert (stopped.may_work, "battery" in stopped.reason) == (False, True)
    assert machine.see(QUIET, CALM_SECONDS + 2 * LOOK_SECONDS).may_work


def test_the_reason_stays_while_it_holds_and_gives_way_to_the_next() -> None:
    machine = Watched(IDLE, replace(QUIET, gpu_others=0.9))
    both = replace(QUIET, gpu_others=0.9, input_age=1.0)
    assert "graphics card" in machine.see(both, 4).reason
    assert "keyboard" in machine.see(replace(both, gpu_others=0.0), 4).reason


def test_a_pause_counts_at_once_and_ends_at_its_time() -> None:
    pause = Pause(until=int(NOON) + 60)
    paused = judge(ALWAYS, NOON, pause=pause, seen=None, before=None)
    assert (paused.may_work, paused.until) == (False, pause.until)
    assert judge(ALWAYS, NOON + 60, pause=pause, seen=None, before=paused).may_work
    assert not judge(ALWAYS, NOON + 10**9, pause=Pause(), seen=None, before=paused).may_work


def test_a_machine_that_stayed_calm_during_a_pause_goes_on_at_once() -> None:
    paused = judge(IDLE, NOON, pause=Pause(), seen=QUIET, before=Watched(IDLE).standing)
    assert judge(IDLE, NOON + 1, pause=None, seen=None, before=paused).may_work


@pytest.mark.parametrize(
    ("words", "now", "may", "begins"),
    [
        ("22:00-06:00", "21:59", False, at("22:00")),
        ("22:00-06:00", "22:00", True, None),
        ("22:00-06:00", "05:59", True, None),
        ("22:00-06:00", "06:00", False, at("22:00")),
        ("09:00-17:30", "17:30", False, at("09:00", day=5)),
        ("09:00-17:30", "00:00", False, at("09:00")),
        ("18:00-24:00", "23:59", True, None),
        ("18:00-24:00", "00:00", False, at("18:00")),
        ("22:00-06:00,04:00-12:00", "03:00", False, at("04:00")),
        ("22:00-06:00,04:00-12:00", "05:00", True, None),
        ("22:00-06:00,04:00-12:00", "06:00", False, at("04:00", day=5)),
        ("20:00-23:00,04:00-21:00", "04:00", False, at("20:00")),
    ],
)
def test_hours_also_over_midnight(words: str, now: str, may: bool, begins: float | None) -> None:
    standing = judge(parse_when([words]), at(now), pause=None, seen=None, before=None)
    assert (standing.may_work, standing.until) == (may, begins)


MINUTES = st.integers(0, 1439)


@given(MINUTES, MINUTES.filter(bool), st.integers(0, 6 * 86_400))  # no clock is changed in these days of May
def test_when_hours_begin_they_hold_and_not_a_minute_before(start: int, length: int, second: int) -> None:
    end = (start + length) % 1440
    when = parse_when([f"{start // 60}:{start % 60:02}-{end // 60}:{end % 60:02}"])
    now = NOON + second
    if not when.hours_hold(now):
        begins = when.hours_begin(now)
        assert now < begins <= now + 25 * 3600
        assert when.hours_hold(begins)
        assert not when.hours_hold(begins - 1)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("words", "begins"), [("02:30-05:00", "2026-03-29T03:00+02:00"), ("02:30-02:45", "2026-03-30T02:30+02:00")]
)
@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system sets no time zone within a process")
def test_hours_that_summer_time_skips_begin_after_it_or_a_day_later(berlin: None, words: str, begins: str) -> None:
    midnight = datetime.fromisoformat("2026-03-29T00:00+01:00").timestamp()
    assert parse_when([words]).hours_begin(midnight) == datetime.fromisoformat(begins).timestamp()


def test_conditions_are_read_with_commas_or_repeated_and_kept_in_one_form() -> None:
    when = parse_when(["idle, Charging", "7:05-8:00"])
    assert when.words == ("idle", "charging", "07:05-08:00")
    assert parse_when(when.words) == when
    assert parse_when(["always"]) == parse_when([]) == ALWAYS
    assert str(ALWAYS) == "always"


@pytest.mark.parametrize(
    "words", ["", "never", "idle,", "25:00-26:00", "10:60-11:00", "8-9", "10:00-10:00", "00:00-24:00", "always,idle"]
)
def test_what_is_no_condition_is_refused_with_advice(words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_when([words])
    assert caught.value.advice


def test_hours_that_never_meet_are_refused() -> None:
    with pytest.raises(UserError, match="no minute in common"):
        parse_when(["22:00-06:00", "12:00-13:00"])
