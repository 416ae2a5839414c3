"""Every check of the protocol is listed with its claim and its tests, and the last mutation run left none unnoticed."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("mutate", Path(__file__).with_name("mutate.py"))
assert _spec is not None
assert _spec.loader is not None
mutate = sys.modules["mutate"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutate)


def test_every_check_of_the_protocol_has_a_claim_and_tests_that_exist():
    """Whoever adds a check adds it to mutants.toml; whoever renames a test renames it there."""
    names: dict[str, set[str]] = {}
    for change in mutate.all_changes():
        assert change.claim, change.name
        assert change.tests, change.name
        for test in change.tests:
            file, _, name = test.partition("::")
            if file not in names:
                tree = ast.parse((mutate.ROOT / file).read_text())
                names[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in names[file], f"{change.name} names a test that is not there: {test}"


def test_the_committed_mutation_run_covers_every_check_and_none_survived():
    """If this fails, run `make mutate`."""
    kept = json.loads(mutate.RESULT.read_text())
    assert kept["survivors"] == []
    covered = {f"{outcome['file']}: {outcome['check']} [{outcome['change']}]" for outcome in kept["outcomes"]}
    assert {change.name for change in mutate.all_changes()} <= covered
