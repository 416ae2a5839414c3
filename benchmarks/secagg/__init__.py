"""Secure aggregation measured beside its peers, in one run on the same cores: ``make bench-secagg``.

(a) ours; (b) Flower's SecAgg+, by its own functions; (c) ``pairwise``, a sound pairwise masking written for speed, as
the honest baseline. Every figure says whether it was measured whole or is a measured unit times a count.
"""
