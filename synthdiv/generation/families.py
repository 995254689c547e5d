"""Prompt families: what each shows its writer, what it asks back, and the text it makes of that.

A family is a directory:

    family.json   what is drawn for a text and shown: topics, styles, personas, a source, an angle
    prompt.jinja  the words of the request
    reply.json    the JSON Schema of the reply
    text.jinja    how the reply becomes the text of a document
    forms.jsonl   forms to put a source into, one of which is drawn for a text

What it has none of, but for family.json and prompt.jinja, is taken from the directory of all
families, which also holds what the prompts share.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthdiv.config import PathName
from synthdiv.errors import UserError, closest
from synthdiv.generation.angles import Angles, read_angles
from synthdiv.generation.openings import read_openings
from synthdiv.generation.replies import read_replies
from synthdiv.generation.seeds import Form, read_forms
from synthdiv.generation.shape import Shape
from synthdiv.generation.skeletons import Skeletons, Texts
from synthdiv.json_lines import parse_json
from synthdiv.llm import fence
from synthdiv.prompts import Templates

DIRECTORY = "prompts/generation"


@dataclass(frozen=True)
class Shows:
    """What a family's family.json says.

    Args:
        topics: how many a text is about: "none", "one" or "several".
        styles: whether a style is drawn for each text.
        personas: whether personas are shown, of which the writer chooses its audience.
        source: whether a real document, or a passage of one, is shown.
        angle: names of the lists of angles.json that each text gets a value of; "focus" is one of
            the topic's keywords.
        shape: which parts of a shape its prompt tells the writer; documents keep these.
        columns: texts of the reply that become columns of the corpus beside `text`.
        about: what the family is, for people.
    """

    topics: str = "one"
    styles: bool = False
    personas: bool = False
    source: bool = False
    angle: tuple[str, ...] = ()
    shape: tuple[str, ...] = tuple(one.name for one in dataclasses.fields(Shape))
    columns: tuple[str, ...] = ()
    about: str = field(default="", compare=False)

    @classmethod
    def read(cls, path: Path) -> Shows:
        """Reads a family.json.

        Raises:
            UserError: it says something that is not known.
        """
        try:
            said = parse_json(path.read_text(encoding="utf-8"), path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        if not isinstance(said, dict):
            raise UserError(f"{path} is not a JSON object")
        defaults = {one.name: one.default for one in dataclasses.fields(cls)}
        for name, value in said.items():
            if name not in defaults:
                raise UserError(f"{path}: nothing is known of {name!r}{closest(name, defaults)}")
            kind = list if isinstance(defaults[name], tuple) else type(defaults[name])
            if not isinstance(value, kind):
                raise UserError(f"{path}: {name!r} is {value!r}, not a {kind.__name__}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in said.items()
        }
        shows = cls(**values)
        if shows.topics not in ("none", "one", "several"):
            raise UserError(f"{path}: 'topics' is none, one or several, not {shows.topics!r}")
        if shows.topics == "none" and not shows.source:
            raise UserError(f"{path}: a family with neither topics nor a source has no subject")
        for name in shows.shape:
            if name not in cls.shape:
                raise UserError(f"{path}: a shape has no {name!r}{closest(name, cls.shape)}")
        return shows


class Family:
    """One family, with all of its files read.

    Args:
        name: a directory inside `shared`, or the path of one elsewhere.
        shared: the directory of all families, as given or inside the installed configs.

    Attributes:
        name: the directory's own name, which documents keep.
        shows: what is drawn for a text.
        replies: the classes of its replies.
        angles: what its angles are made of.
        forms: what a source may become; () for a family without forms.
        openings: first words that its writer is asked to avoid.

    Raises:
        UserError: there is no such family, or a file of it has a fault.
    """

    def __init__(self, name: PathName, shared: PathName = DIRECTORY) -> None:
        templates = Templates(shared, trim=True, names={"fence": fence})
        self.shared = templates.directory
        inside = self.shared / name
        self.directory = inside if (inside / "family.json").is_file() else Path(name)
        if not (self.directory / "family.json").is_file():
            known = family_names(self.shared)
            raise UserError(
                f"Generate.family {str(name)!r} is none of {', '.join(known)}, nor a directory with"
                f" a family.json{closest(str(name), known)}"
            )
        self.name = self.directory.resolve().name
        self._templates = Templates(
            self.directory, trim=True, names={"fence": fence}, then=[self.shared]
        )
        self.shows = Shows.read(self.directory / "family.json")
        self.replies = read_replies(self._file("reply.json"))
        self.angles = Angles(read_angles(self._file("angles.json")), self.shows.angle)
        forms = self.directory / "forms.jsonl"
        self.forms: Sequence[Form] = read_forms(forms) if forms.exists() else ()
        openings = self._file("openings.txt")
        self.openings = read_openings(openings) if openings.exists() else []
        render = functools.partial(self._templates.render, "prompt", openings=self.openings)
        self._prompts = Skeletons(render)

    def prompt(self, shape: Shape, reply: str, texts: Texts) -> str:
        """Returns the words of a request.

        Args:
            shape: of the text.
            reply: how the reply looks.
            texts: what is fenced in the template, by name.

        Raises:
            UserError: the template is missing or has a fault.
        """
        return self._prompts.prompt({"shape": shape, "reply": reply}, texts)

    def text(self, reply: Mapping[str, Any], shape: Shape) -> str:
        """Returns the text of the document that a reply becomes.

        Args:
            reply: as it came; what it was not asked for is None in the template.
            shape: the document's.

        Raises:
            UserError: the template is missing or has a fault.
        """
        whole = dict.fromkeys(self.replies.schema["properties"]) | dict(reply)
        return self._templates.render("text", reply=whole, shape=shape)

    @property
    def sha256(self) -> str:
        """A hash over every file of the family and of the directory of all families."""
        digest = hashlib.sha256()
        for root in dict.fromkeys((self.shared, self.directory)):
            for file in sorted(root.rglob("*")):
                if file.is_file() and not file.name.startswith("."):
                    name = str(file.relative_to(root)).encode()
                    digest.update(name + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def _file(self, name: str) -> Path:
        own = self.directory / name
        return own if own.exists() else self.shared / name


def family_names(shared: PathName = DIRECTORY) -> list[str]:
    """Returns the names of the families in a directory, as given or inside the installed configs.

    Raises:
        UserError: there is no such directory.
    """
    directory = Templates(shared).directory
    return sorted(path.parent.name for path in directory.glob("*/family.json"))


def weights(forms: Sequence[Form], named: Mapping[str, float]) -> list[float]:
    """Returns the weight of each form: what the configuration names, or what the file says.

    Raises:
        UserError: a name that is no form's, or no weight above 0.
    """
    known = [form.name for form in forms]
    for name, weight in named.items():
        if name not in known:
            raise UserError(f"Generate.forms: no form {name!r}{closest(name, known)}")
        if type(weight) not in (int, float) or not 0 <= weight < float("inf"):
            raise UserError(f"Generate.forms: the weight of {name!r} is {weight!r}")
    found = [float(named.get(f.name, 0.0) if named else f.weight) for f in forms]
    if forms and not sum(found):
        raise UserError("Generate.forms leaves no form to draw")
    return found
