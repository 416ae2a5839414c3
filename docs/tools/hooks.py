"""MkDocs hooks: pages that live beside the code, sections and programs shown where they are named, links between all.

A page says ``<!-- include: README.md "A round" -->`` to have that section shown there, without its heading (the title's
own, up to the next heading, by the title), and ``<!-- code: examples/progress.py -->`` for a program. On its own page a
README reads as it does in its folder. Whatever links to a file that has no page loses the link and keeps the words.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
BORROWED = {
    "changelog.md": "CHANGELOG.md",
    "client.md": "edge_client/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "server.md": "agg_server/README.md",
    "shared.md": "shared/README.md",
}
PAGES = {source: page for page, source in BORROWED.items()} | {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
INCLUDE = re.compile(r'^<!-- include: (\S+) "(.+)" -->$', re.MULTILINE)
CODE = re.compile(r"^<!-- code: (\S+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every decision is in the navigation, below the list of them."""
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md") if path.name[:4] != "0000")
    for item in config.nav or []:
        if isinstance(item, dict) and "Decisions" in item:
            item["Decisions"] = ["adr/README.md", *(f"adr/{name}" for name in decisions)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Borrow the pages that live elsewhere."""
    for page, source in BORROWED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Show what is included, and lead links to where their targets are on the site."""
    here = page.file.src_uri
    text = relinked(markdown, BORROWED.get(here, f"docs/{here}"), here)
    text = INCLUDE.sub(lambda found: relinked(section(found[1], found[2]), found[1], here), text)
    return CODE.sub(lambda found: f"```python\n{(ROOT / found[1]).read_text(encoding='utf-8')}```", text)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Whoever reads the site tells nobody: no page may load anything from elsewhere."""
    if foreign := re.search(
        r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>", output
    ):
        raise PluginError(f"{page.file.src_uri} loads something from elsewhere: {foreign.group()}")
    return output


def section(source: str, heading: str) -> str:
    """What stands below ``heading`` in a file of this repository, up to the next one of its level or above; below the
    title, up to the next of any."""
    text = (ROOT / source).read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}.*\n", text, re.MULTILINE)
    if found is None:
        raise PluginError(f"{source} has no section {heading!r}.")
    rest = text[found.end() :]
    levels = "1,6" if found[1] == "#" else f"1,{len(found[1])}"
    end = re.search(rf"^#{{{levels}}} ", rest, re.MULTILINE)
    return rest[: end.start() if end else len(rest)].strip()


def relinked(markdown: str, source: str, page: str) -> str:
    """``markdown`` of the file ``source``, its links as they have to be on ``page``."""

    def lead(link: re.Match[str]) -> str:
        mark, words, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = (
            path.removeprefix("docs/") if path.startswith("docs/") and path.endswith((".md", ".svg", ".png")) else None
        )
        found = PAGES.get(path, found)
        if found is None:
            return words
        return f"{mark}[{words}]({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(lead, markdown)
