"""When the next round opens, and on what."""

from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection

from agg_server.config import Config, RoundRules
from agg_server.ledger import Proposal
from agg_server.rounds.effects import end_without
from agg_server.rounds.events import RoundOpened, Rules
from agg_server.rounds.state import Phase, Round
from agg_server.store import Journal, Versions
from agg_server.summing.slot_size import FINE, USUAL, opening_bits
from agg_server.task import make_rules
from fedit_shared.identity import federation_id
from fedit_shared.messages import TaskSpec, encode
from fedit_shared.strategies import next_round

from .work import Tools, opening_ranges, ranges_from


class Plans(NamedTuple):
    """What the rounds to come are about."""

    task: TaskSpec
    task_bytes: bytes

    @classmethod
    def of(cls, task: TaskSpec) -> "Plans":
        """From the task that was made of the settings."""
        return cls(task, encode(task))


def next_proposal(
    connection: Connection, tools: Tools, plans: Plans, current: Round | None, seed: bytes
) -> Proposal | None:
    """The event that brings the federation on: a new round after the last one's end, or the end of one that has only
    begun and no longer agrees with the settings or with a rollback that was ordered; None if there is nothing to do."""
    versions = Versions()
    ordered = versions.rollback(connection)
    if current is not None and current.phase is not Phase.OVER:
        reason = _outdated(tools.config, plans, current, ordered)
        if reason is None:
            return None
        return Proposal(current.number, end_without(current, "abandoned", reason))
    newest = versions.newest(connection)
    if tools.config.federation.finished(newest.version):
        return None
    base = versions.next_from(connection, None if current is None else current.version)
    number = next_round(plans.task.strategy, Journal().last_round(connection), base.round)
    opened = RoundOpened(
        round=number,
        federation=federation_id(tools.key.public),
        task=plans.task_bytes,
        adapter=base.adapter,
        adapter_size=base.size,
        version=base.version,
        next_version=newest.version + 1,
        seed=seed,
        partition=_partition(current, seed),
        clip=opening_ranges(tools.config, plans.task, ranges_from(base, plans.task)),
        rules=make_rules(tools.config.round, opening_bits(tools.config.round, current)),
    )
    return Proposal(number, opened)


def _partition(current: Round | None, seed: bytes) -> bytes:
    """Cohorts stay the same until a round, or one of them, fails: so that who spoils sums is not always among the
    same."""
    if current is not None and current.ended is not None and current.ended.outcome == "published":
        ends = [cohort.ended for cohort in current.cohorts.values()]
        if not any(ended is not None and ended.outcome == "failed" for ended in ends):
            return current.opened.partition
    return sha256(b"partition" + seed).digest()


def _outdated(config: Config, plans: Plans, current: Round, ordered: int | None) -> str | None:
    if current.phase is not Phase.MUSTER:
        return None
    opened = current.opened
    if ordered is not None and ordered != opened.version:
        return f"the operator went back to version {ordered}"
    if opened.task != plans.task_bytes:
        return "the task was changed"
    if opened.rules != _rules_now(config.round, opened.rules) or opened.clip != opening_ranges(
        config, plans.task, opened.clip
    ):
        return "the settings of [round] were changed"
    return None


def _rules_now(rules: RoundRules, opened: Rules) -> Rules:
    """The rules that a round which was opened with these would have been opened with by the settings of now."""
    following = rules.slot_bits == "auto" and opened.slot_bits in (USUAL, FINE)
    return make_rules(rules, opened.slot_bits if following else opening_bits(rules, None))
