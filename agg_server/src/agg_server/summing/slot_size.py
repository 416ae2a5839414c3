"""How many bits a summed value gets, from public data only: as few as keep what rounding adds small beside the mean."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple

from fedit_shared.errors import ProtocolError
from fedit_shared.parameters import levels
from fedit_shared.quantize import Quantizer

from ..config import RoundRules
from ..rounds.state import Round
from .clipping import combined_error, rounding_error

Bits = Literal[12, 16, 24]
USUAL: Bits = 16
FINE: Bits = 24
LARGEST_ERROR = 0.01
"""Of what rounding may add, as a fraction of the mean update's norm, before values get more bits."""


class Summed(NamedTuple):
    """What is public of one cohort's sum: how it was quantized, of how many members, over how many survivors."""

    quantizer: Quantizer
    members: int
    survivors: int
    total_weight: int


def opening_bits(rules: RoundRules, last: Round | None) -> Bits:
    """The bits of the next round: the setting, or what the last published mean suggests.

    With "auto" they stay what they were after a round that published nothing, and are ``USUAL`` at first.
    """
    if rules.slot_bits != "auto":
        return rules.slot_bits
    if not fits(rules.cohort_max, USUAL, rules.max_weight):
        return FINE
    if last is None or last.opened.rules.slot_bits not in (USUAL, FINE):
        return USUAL
    if last.ended is None or last.ended.mean_norm is None:
        return last.opened.rules.slot_bits
    sums = [
        Summed(
            cohort.session.quantizer,
            cohort.session.parameters.members,
            len(cohort.survivors),
            cohort.opened.total_weight,
        )
        for cohort in last.cohorts.values()
        if cohort.opened is not None
    ]
    return following_bits(sums, last.ended.mean_norm)


def following_bits(sums: Iterable[Summed], mean_norm: float) -> Bits:
    """``USUAL`` if the error of a mean of this norm over these cohorts, however it was summed, would have been small
    with so many bits, else ``FINE``."""
    try:
        error = combined_error([(_usual_error(summed), summed.total_weight) for summed in sums])
    except ProtocolError:  # they would not have fitted
        return FINE
    return USUAL if error <= LARGEST_ERROR * mean_norm else FINE


def _usual_error(summed: Summed) -> float:
    top = levels(summed.members, USUAL, summed.quantizer.max_weight)
    usual = replace(summed.quantizer, slot_bits=USUAL, levels=top)
    return rounding_error(usual, summed.survivors, summed.total_weight)


def fits(members: int, bits: Bits, max_weight: int) -> bool:
    """Whether the sums of a cohort of so many members fit into ``bits``."""
    try:
        levels(members, bits, max_weight)
    except ProtocolError:
        return False
    return True
