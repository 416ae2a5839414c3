"""A participant's client: trains an adapter on data that stays here, and adds it, masked, to a federation's sum.

Importing this package, or any module that the command line needs to answer ``--help``, loads neither torch nor
transformers: those live in child processes (:mod:`edge_client.training`, :mod:`edge_client.inference`).
"""

__version__ = "0.1.0.dev0"
