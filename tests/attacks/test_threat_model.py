"""Every line of the threat model's tables has its tests: threats.toml names them."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
NAMED = tomllib.loads(Path(__file__).with_name("threats.toml").read_text())


def first_cells(heading: str) -> list[str]:
    """Of the table under this heading, without its own."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip() for row in rows[2:]]


@pytest.mark.parametrize("heading", NAMED)
def test_every_line_of_the_threat_model_has_tests_that_exist(heading: str):
    cells, named = first_cells(heading), NAMED[heading]
    assert len(cells) == len(named)
    for cell, (begins, tests) in zip(cells, named.items(), strict=True):
        assert cell.startswith(begins)
        assert tests
        for test in tests:
            file, _, name = test.partition("::")
            tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
            assert any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body), test
