"""Where a file of this repository is on the site, and what its links lead to there. Needs no MkDocs: a test asks, too.

Whatever links to a file that has no page loses the link and keeps the words.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BORROWED = {
    "changelog.md": "CHANGELOG.md",
    "client.md": "edge_client/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "server.md": "agg_server/README.md",
    "shared.md": "shared/README.md",
}
PAGES = {source: page for page, source in BORROWED.items()} | {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
}
LEFT_OUT = {"docs/adr/0000-template.md"}
"""As `exclude_docs` in mkdocs.yml."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
INCLUDE = re.compile(r'^<!-- include: (\S+) "(.+)" -->$', re.MULTILINE)
CODE = re.compile(r"^<!-- code: (\S+) -->$", re.MULTILINE)


def shown(markdown: str, page: str) -> str:
    """What ``page`` of the site shows of the text of its file: with what it includes, and its links as they are
    there. Raises LookupError for an include of what is not there."""
    text = relinked(markdown, BORROWED.get(page, f"docs/{page}"), page)
    text = INCLUDE.sub(lambda found: relinked(section(found[1], found[2]), found[1], page), text)
    return CODE.sub(lambda found: f"```python\n{(ROOT / found[1]).read_text(encoding='utf-8')}```", text)


def section(source: str, heading: str) -> str:
    """What stands below ``heading`` in a file of this repository, up to the next one of its level or above; below the
    title, up to the next of any. Raises LookupError."""
    text = (ROOT / source).read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}.*\n", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"{source} has no section {heading!r}.")
    rest = text[found.end() :]
    levels = "1,6" if found[1] == "#" else f"1,{len(found[1])}"
    end = re.search(rf"^#{{{levels}}} ", rest, re.MULTILINE)
    return rest[: end.start() if end else len(rest)].strip()


def relinked(markdown: str, source: str, page: str) -> str:
    """``markdown`` of the file ``source``, its links as they have to be on ``page``."""

    def lead(link: re.Match[str]) -> str:
        mark, target, anchor = link[1], link[3], link[4] or ""
        words = LINK.sub(lead, link[2])  # a picture that is a link
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        has_page = path.startswith("docs/") and path.endswith((".md", ".svg", ".png")) and path not in LEFT_OUT
        found = PAGES.get(path, path.removeprefix("docs/") if has_page else None)
        if found is None:
            return words
        return f"{mark}[{words}]({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(lead, markdown)
