"""The site's map: what it names is there, and nothing that is there is left out. The site itself is built, strictly, by
`make docs`."""

import posixpath
import re
import runpy
from typing import Any

import yaml
from browser import chromium
from documents import ROOT

DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
LINKS = runpy.run_path(str(DOCS / "tools" / "links.py"))
BORROWED: dict[str, str] = LINKS["BORROWED"]
"""The site's pages that live elsewhere, by their names there."""


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
    assert sorted(pages(SITE["nav"])) == sorted({*own - decisions, *BORROWED})


def test_what_is_borrowed_and_included_exists() -> None:
    for source in BORROWED.values():
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


def test_every_link_of_the_site_leads_to_a_page_or_picture_of_it() -> None:
    left_out = {name for name in SITE["exclude_docs"].split() if name.endswith(".md")}
    assert {f"docs/{name}" for name in left_out} == LINKS["LEFT_OUT"]
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*") if path.suffix in (".md", ".png", ".svg")}
    there = (there | set(BORROWED)) - left_out
    dead, found = [], 0
    for page in sorted(there):
        if page.endswith(".md"):
            text = (ROOT / BORROWED.get(page, f"docs/{page}")).read_text(encoding="utf-8")
            for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", LINKS["shown"](text, page)):
                found += 1
                if posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) not in there:
                    dead.append(f"{page} → {target}")
    assert dead == []
    assert found > 100


def test_a_link_reads_as_words_and_not_as_the_name_of_a_file() -> None:
    named = re.compile(r"\[[\w./-]+\.md\]\(")
    pages = [*DOCS.rglob("*.md"), *(ROOT / source for source in BORROWED.values()), ROOT / "README.md"]
    assert [str(page) for page in pages if named.search(page.read_text(encoding="utf-8"))] == []


def test_every_picture_is_on_a_page() -> None:
    texts = "".join(page.read_text(encoding="utf-8") for page in (*DOCS.rglob("*.md"), ROOT / "README.md"))
    assert [path.name for path in (DOCS / "img").iterdir() if path.suffix != ".py" and path.name not in texts] == []


def test_every_example_is_shown() -> None:
    shown = re.findall(r"^<!-- code: (\S+) -->$", (DOCS / "examples.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py"))


def test_nothing_is_fetched_from_anybodys_server() -> None:
    assert SITE["theme"]["font"] is False
    assert all((DOCS / name).is_file() for name in (*SITE["extra_javascript"], *SITE["extra_css"]))


def test_an_option_is_looked_for_as_it_is_written() -> None:
    """To the search a leading dash means "without"."""
    heard = """() => {
      const worker = new Worker(URL.createObjectURL(new Blob(["onmessage = e => postMessage(e.data)"])));
      const say = message => new Promise(done => {
        worker.onmessage = e => done(e.data);
        worker.postMessage(message);
      });
      return say({type: 2, data: "--when x-y -1"}).then(
        query => say({type: 0, data: "--when"}).then(other => [query.data, other.data]));
    }"""
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(path=DOCS / "assets" / "search.js")
        assert page.evaluate(heard) == ["when x-y 1", "--when"]
