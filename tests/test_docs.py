"""The pages keep what they say: links, floors and file names are there, on the site and off it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from synthdiv import __version__

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("third_party/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)


def anchors(page: Path) -> set[str]:
    """What a link into `page` may name, as GitHub and the site make it of headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        if re.match(r"(https?|mailto):", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_floors_are_drawn_as_they_are() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in contracts["contracts"] if c["id"] == "floors"]
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("| floor | rooms |")[2].partition("\n\n")[0]
    drawn = [re.findall(r"`(\w+)`", row.split("|")[2]) for row in table.splitlines()[2:]]
    assert drawn == [re.split(r" [|:] ", layer) for layer in layers]


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(name: str) -> None:
    named = re.findall(r"`((?:synthdiv|configs|tests|launch|docs)/[\w./-]+)`", prose(ROOT / name))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert "2410.15226" in citation["preferred-citation"]["url"]


@pytest.mark.slow
def test_the_site_refers_to_nothing_remote(tmp_path: Path) -> None:
    pytest.importorskip("material")
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict"]
    done = subprocess.run(
        [*build, "--site-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r'<(?:script|img|iframe)[^>]*src="https?:|<link[^>]*href="https?:')
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    assert [page.name for page in pages if loaded.search(page.read_text())] == []
