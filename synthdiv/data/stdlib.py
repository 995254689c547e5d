"""Real text that every machine has: the documentation of Python's standard library.

The quickstart and the tests need text written by people, without a network. Every Python
installation has about two megabytes of it: the docstrings of the library's modules, classes and
functions, and the language reference's topics (pydoc). They are read from source files; nothing is
imported.
"""

import ast
import functools
import hashlib
import inspect
import json
import os
import random
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from synthdiv.errors import UserError
from synthdiv.files import CorpusWriter, atomic_path, read_manifest

# Not documentation of the library: its tests, vendored wheels, tables, and a Python 2 grammar.
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages"}
_LEFT_OUT |= {"turtledemo", "ensurepip", "pydoc_data", "encodings", "__pycache__", "__phello__"}
_SHORTEST, _LONGEST = 300, 3000  # characters a document
PAGE = 1000  # characters of a page, in corpora of equally long ones
_HELDOUT_PERCENT = 10
_HELDOUT_MOST = 8  # documents of one package: decimal's would else be half of what is held out
_FORMS = ("{}", "Q: {}\nA:", "Question: {}\nAnswer:")  # of an instruction
_LICENCE = "Python Software Foundation License; read from this machine's own Python"


def stdlib_corpus(output: str | Path, heldout: bool = False) -> Path:
    """Writes the corpus, unless it is there already.

    A document is a module's text, a class with its methods, or a group of a module's functions, of
    300 to 3000 characters. Modules, and with them all their documents, are held out by a hash of
    their names, about one in ten; of a package that is held out, the first documents.

    Args:
        output: the corpus directory.
        heldout: write the held-out modules instead of the others.

    Returns:
        `output`; columns id, text, module.

    Raises:
        UserError: this Python has no sources to read.
    """
    output = Path(output)
    if read_manifest(output):
        return output
    rows, of_package = [], Counter[str]()
    for module, texts in _modules():
        if _is_heldout(module) == heldout:
            for number, text in enumerate(texts):
                of_package[_package(module)] += 1
                if not heldout or of_package[_package(module)] <= _HELDOUT_MOST:
                    rows.append({"id": f"{module}/{number}", "text": text, "module": module})
    if not rows:
        raise UserError("this Python came without the sources of its library: take another corpus")
    return _write(output, rows, {"heldout": heldout})


def stdlib_pages(output: str | Path, packages: int, pages: int, seed: int | str = 0) -> Path:
    """Writes a corpus of so many packages with so many pages each, unless it is there already.

    A page is `PAGE` characters of a package's documentation, less what a word at its end takes, so
    that corpora of equally many pages are equally long. A topic of the language reference counts as
    a package. No page is of a held-out module.

    Args:
        output: the corpus directory.
        packages: how many, drawn from those that have the pages.
        pages: of each package.
        seed: of the draw.

    Returns:
        `output`; columns id, text, package.

    Raises:
        UserError: not so many packages have so many pages.
    """
    output = Path(output)
    if read_manifest(output):
        return output
    texts: dict[str, list[str]] = {}
    for module, some in _modules():
        if not _is_heldout(module):
            texts.setdefault(_package(module), []).extend(some)
    cut = {name: list(_pages("\n\n".join(some))) for name, some in texts.items()}
    enough = [name for name, some in cut.items() if len(some) >= pages]
    if packages > len(enough):
        raise UserError(
            f"{len(enough)} packages of this Python's library have {pages} pages of documentation, "
            f"not {packages}: take fewer packages or pages"
        )
    rows = [
        {"id": f"{package}/{number}", "text": text, "package": package}
        for package in sorted(random.Random(seed).sample(sorted(enough), packages))
        for number, text in enumerate(cut[package][:pages])
    ]
    return _write(output, rows, {"packages": packages, "pages": pages, "seed": seed})


def _pages(text: str) -> Iterator[str]:
    """Cuts a text at blanks into pages; what is left for the last one is too short."""
    while len(text) > PAGE:
        at = max(text.rfind(" ", 0, PAGE), text.rfind("\n", 0, PAGE))
        at = at if at > 0 else PAGE
        yield text[:at]
        text = text[at:].lstrip()


def _write(output: Path, rows: Sequence[Mapping[str, Any]], how: Mapping[str, Any]) -> Path:
    writer = CorpusWriter(output)
    writer.shards.clear()  # of a run that did not finish
    writer.write(rows)
    writer.close(
        {
            "documents": len(rows),
            "bytes": sum(len(r["text"].encode()) for r in rows),
            "generator": f"standard library of Python {sys.version.split()[0]}",
            **how,
            "licence": _LICENCE,
        }
    )
    return output


def _package(module: str) -> str:
    return module if module.startswith("topic.") else module.split(".")[0]


def _is_heldout(module: str) -> bool:
    """Whether a module is held out: whole packages, since their modules overlap; topics singly."""
    digest = hashlib.sha256(_package(module).encode()).digest()
    return int.from_bytes(digest[:4], "little") % 100 < _HELDOUT_PERCENT


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class _Member(NamedTuple):
    """A function or class of a module, with its documentation."""

    name: str
    title: str
    text: str
    methods: tuple[str, ...] | None  # texts of a class's methods; None for a function


class _Module(NamedTuple):
    name: str
    text: str
    members: tuple[_Member, ...]


@functools.cache
def _library() -> tuple[_Module, ...]:
    """The documentation of the library's modules, by name."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = []
    for path in _sources(root):
        parts = path.relative_to(root).with_suffix("").parts
        generated = any(p.startswith(("config-", "_sysconfigdata")) for p in parts)
        if generated or _LEFT_OUT & set(parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue  # templates and examples that are not modules
        name = ".".join(parts).removesuffix(".__init__")
        members = tuple(m for m in (_member(node, name) for node in tree.body) if m)
        modules.append(_Module(name, _docstring(tree), members))
    return tuple(modules)


def _sources(root: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(root):  # site-packages alone may hold 10,000
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)


def _member(node: ast.AST, module: str) -> _Member | None:
    if isinstance(node, ast.ClassDef):
        methods = (_member(n, node.name) for n in node.body)
        texts = tuple(f"{m.title}\n{m.text}" for m in methods if m and m.methods is None and m.text)
        return _Member(node.name, f"class {module}.{node.name}", _docstring(node), texts)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        title = f"{module}.{node.name}({_arguments(node.args)})"
        return _Member(node.name, title, _docstring(node), None)
    return None


def _modules() -> Iterator[tuple[str, list[str]]]:
    """(name, documents) of what has any: the modules, then the reference's topics."""
    for module in _library():
        if texts := list(_documents(module)):
            yield module.name, texts
    for name, text in sorted(_topics().items()):
        if texts := list(_cut(_clean(text))):
            yield f"topic.{name}", texts


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions leave it out
        return {}
    return topics


def _documents(module: _Module) -> Iterator[str]:
    if module.text:
        yield from _cut(f"{module.name}\n\n{module.text}")
    functions = []
    for member in module.members:
        if member.methods is None:
            functions += [f"{member.title}\n{member.text}"] * bool(member.text)
        elif member.text or member.methods:
            yield from _cut("\n\n".join(filter(None, [member.title, member.text, *member.methods])))
    yield from _cut("\n\n".join(functions))


def _docstring(node: _Documented) -> str:
    return _clean(ast.get_docstring(node) or "")


def _arguments(arguments: ast.arguments) -> str:
    words = [a.arg for a in arguments.posonlyargs + arguments.args]
    words += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    words += [a.arg for a in arguments.kwonlyargs]
    words += [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
    return ", ".join(w for w in words if w not in ("self", "cls"))


def _clean(text: str) -> str:
    """Readable text: no trailing blanks, no rules of dashes, no runs of empty lines."""
    text = inspect.cleandoc(text.replace("\r\n", "\n").replace("\f", "\n"))
    text = "".join(c for c in text if c in "\n\t" or c.isprintable())
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^[-=~*#_+|]{4,}$\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _cut(text: str) -> Iterator[str]:
    """Cuts a text at empty lines into documents; what is too short for one is left out."""
    document = ""
    for paragraph in text.split("\n\n"):
        for piece in _pieces(paragraph):
            # A document that is too short always has room for a piece.
            if document and len(document) + len(piece) + 2 > _LONGEST:
                yield document
                document = ""
            document = f"{document}\n\n{piece}" if document else piece
    if len(document) >= _SHORTEST:
        yield document


def _pieces(paragraph: str) -> Iterator[str]:
    """Cuts a paragraph that no short document has room for, at a line's end or at a blank."""
    room = _LONGEST - _SHORTEST - 2
    while len(paragraph) > room:
        at = paragraph.rfind("\n", 1, room)
        at = at if at > 0 else paragraph.rfind(" ", 1, room)
        at = at if at > 0 else room
        yield paragraph[:at].rstrip()
        paragraph = paragraph[at:].lstrip()
    yield paragraph


def stdlib_instructions(output: str | Path, limit: int = 2000, seed: int = 0) -> Path:
    """Writes instruction data made from the same documentation, unless it is there already.

    Questions about functions and classes whose docstring begins with a sentence: what one does,
    which one does something, and in which module one is; in free form and in the forms of an
    evaluation, some with four options. No question is about a held-out module.

    Args:
        output: the .jsonl file, one `{"messages": [...]}` a line.
        limit: examples at most.
        seed: of choice and order.

    Returns:
        `output`.
    """
    output = Path(output)
    if output.exists():
        return output
    known = sorted(set(_summaries()))
    draw = random.Random(seed)
    modules = sorted({module for module, _, _ in known})
    examples = [
        asked
        for module, name, summary in known
        for asked in _questions(module, name, summary, modules, draw)
    ]
    draw.shuffle(examples)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for question, answer in examples[:limit]:
            messages = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return output


def _summaries() -> Iterator[tuple[str, str, str]]:
    """(module, name, first sentence of its docstring) of what the library offers."""
    for module in _library():
        if _is_heldout(module.name) or any(p.startswith("_") for p in module.name.split(".")):
            continue
        for member in module.members:
            first = re.sub(r"\s+", " ", member.text.split("\n\n")[0])
            sentence = re.match(r"[A-Z][^.]{20,140}\.(?=\s|$)", first)
            if sentence and not member.name.startswith("_") and member.name not in sentence[0]:
                yield module.name, member.name, sentence[0]


def _questions(
    module: str, name: str, summary: str, modules: list[str], draw: random.Random
) -> Iterator[tuple[str, str]]:
    """Two questions about one function or class, each of a kind and a form drawn at random."""
    other = [m for m in modules if m != module and not m.startswith(f"{module}.")]
    place = f"Which module of Python's standard library has {name}?"
    kinds = [
        (f"What does {name} of Python's module {module} do?", summary, None),
        (place, module, draw.sample(other, 3)),
        (f"Which module helps with this? {summary}", module, draw.sample(other, 3)),
        (f"Name what the module {module} has for this: {summary}", name, None),
    ]
    for question, answer, wrong in draw.sample(kinds, 2):
        if wrong and draw.random() < 0.4:
            question += f"\nOptions: {', '.join(draw.sample([answer, *wrong], 4))}"
        yield draw.choice(_FORMS).format(question), answer
