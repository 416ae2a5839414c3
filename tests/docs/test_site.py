"""The site's map: what it names is there, and nothing that is there is left out. The site itself is built, strictly, by
`make docs`."""

import ast
import re
from typing import Any

import yaml
from documents import ROOT

DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def borrowed() -> dict[str, str]:
    """The site's pages that live elsewhere, by their names there."""
    tree = ast.parse((DOCS / "tools" / "hooks.py").read_text(encoding="utf-8"))
    [value] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["BORROWED"]
    ]
    pages: dict[str, str] = ast.literal_eval(value)
    return pages


def pages(nav: Any) -> list[str]:
    """All that a navigation leads to."""
    match nav:
        case str():
            return [nav]
        case dict():
            return [page for below in nav.values() for page in pages(below)]
        case _:
            return [page for below in nav for page in pages(below)]


def test_every_page_is_in_the_navigation_once() -> None:
    own = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    decisions = {name for name in own if re.fullmatch(r"adr/\d{4}-.*\.md", name)}  # the hooks add them
    assert sorted(pages(SITE["nav"])) == sorted({*own - decisions, *borrowed()})


def test_what_is_borrowed_and_included_exists() -> None:
    for source in borrowed().values():
        assert (ROOT / source).is_file()
    included = [
        found
        for page in DOCS.rglob("*.md")
        for found in re.findall(r'^<!-- include: (\S+) "(.+)" -->$', page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(included) > 3
    for source, heading in included:
        text = (ROOT / source).read_text(encoding="utf-8")
        assert re.search(rf"^#+ {re.escape(heading)}", text, re.MULTILINE), (source, heading)


def test_every_example_is_shown() -> None:
    shown = re.findall(r"^<!-- code: (\S+) -->$", (DOCS / "examples.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py"))


def test_nothing_is_fetched_from_anybodys_server() -> None:
    assert SITE["theme"]["font"] is False
    assert "extra_javascript" not in SITE
