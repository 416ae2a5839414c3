"""The security level that the protocol's page states is what the estimate gives, and the estimate the standard's."""

from math import log2, sqrt
from pathlib import Path

import pytest

from benchmarks.hardness import STANDARD_SIGMA, error_left, primal
from fedit_shared.parameters import DEGREE, ERROR_SIGMA, PRIMES

LOG_Q = log2(PRIMES[0] * PRIMES[1])
PAGE = " ".join((Path(__file__).parents[2] / "docs" / "protocol.md").read_text().split())


@pytest.mark.parametrize(("dimension", "log_q", "bits"), [(4096, 111, 128), (4096, 77, 192), (4096, 60, 256)])
def test_the_standards_bounds_for_uniform_secrets_come_out(dimension: int, log_q: int, bits: int):
    assert abs(primal(dimension, log_q, STANDARD_SIGMA).classical - bits) < 5


def test_the_page_states_what_is_left_after_the_hybrid():
    left = primal(DEGREE, LOG_Q, error_left())
    assert error_left() == pytest.approx(sqrt(8))
    picked = error_left(taken=left.dimension - DEGREE)
    least = primal(DEGREE, LOG_Q, picked)
    drawn = primal(DEGREE, LOG_Q, ERROR_SIGMA)
    for cost, sigma in ((drawn, ERROR_SIGMA), (left, error_left()), (least, picked)):
        assert f"| {sigma:.2f} | {cost.block} | {cost.classical:.0f} | {cost.quantum:.0f} |" in PAGE
