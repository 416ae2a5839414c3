"""MkDocs hooks: pages that live beside the code, sections and programs shown where they are named, links between all
(:mod:`links`).

A page says ``<!-- include: README.md "A round" -->`` to have that section shown there, without its heading (the title's
own, up to the next heading, by the title), and ``<!-- code: examples/progress.py -->`` for a program. On its own page a
README reads as it does in its folder.
"""

import re
from typing import Any

from links import BORROWED, ROOT, shown
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


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
    try:
        return shown(markdown, page.file.src_uri)
    except LookupError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Whoever reads the site tells nobody: no page may load anything from elsewhere."""
    if foreign := re.search(
        r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>", output
    ):
        raise PluginError(f"{page.file.src_uri} loads something from elsewhere: {foreign.group()}")
    return output
