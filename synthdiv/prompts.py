"""Prompts are configuration: Jinja templates in a directory, not words in the code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthdiv.config import find
from synthdiv.errors import UserError

if TYPE_CHECKING:
    from jinja2 import Template


class Templates:
    """The templates of one directory.

    Args:
        directory: as given, or inside the installed configs; see `synthdiv.config.find`.
        trim: whether a line with nothing but a statement leaves no empty line.
        names: what every template may call beside its own values.
        then: directories in which a template is looked for after this one.

    Attributes:
        directory: where it was found.

    Raises:
        UserError: there is no such directory.
    """

    def __init__(
        self,
        directory: str | Path,
        trim: bool = False,
        names: Mapping[str, Any] | None = None,
        then: Sequence[Path] = (),
    ) -> None:
        import jinja2

        self.directory = find(directory)
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([self.directory, *then]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=trim,
            lstrip_blocks=trim,
            auto_reload=False,  # no look at the file's time for each of millions of requests
        )
        self._environment.globals |= names or {}

    def get(self, name: str) -> "Template":
        """Returns the template NAME.jinja.

        Raises:
            UserError: it is missing or is no valid Jinja; names file and line.
        """
        import jinja2

        path = self.directory / f"{name}.jinja"
        try:
            return self._environment.get_template(path.name)
        except jinja2.TemplateNotFound:
            raise UserError(f"no prompt template {str(path)!r}") from None
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{path}, line {error.lineno}: {error.message}") from None

    def render(self, name: str, block: str | None = None, /, **values: object) -> str:
        """Returns a template, or one of its blocks, with `values` in place.

        Raises:
            UserError: it is missing or has a fault, such as a name that it is not given.
        """
        import jinja2

        template = self.get(name)
        try:
            if block is None:
                return template.render(**values).strip()
            return "".join(template.blocks[block](template.new_context(values))).strip()
        except jinja2.TemplateError as error:
            raise UserError(f"{self.directory / name}.jinja: {error.message}") from None
