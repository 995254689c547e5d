"""Binds gin files and flags to the library's dataclasses. The only file that knows gin.

The library is made of plain frozen dataclasses. A command names the ones it takes; each becomes a
gin scope of the same name without its suffix (`ScoreConfig` is bound as `Score.rounds = 5000`), and
a dataclass inside another is bound in its own scope (`Model.hidden = 960`, not
`Pretrain.model.hidden`). What is not bound keeps the default that the dataclass states.
"""

import dataclasses
import functools
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from synthdiv.errors import UserError, closest, first_line

T = TypeVar("T")
PathName = str | Path  # of a field that names a file or a directory; it is kept as a text


def configs_dir() -> Path:
    """Returns the directory of gin files and prompts, of the checkout or the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "configs"
    return checkout if checkout.is_dir() else package / "configs"


def find(path: PathName) -> Path:
    """Returns the file that `path` names: as given, or inside the installed configs.

    `configs/score/quick.gin` and `score/quick.gin` both work from any directory.

    Raises:
        UserError: there is no such file; names the nearest one that exists.
    """
    path = Path(path)
    if os.path.exists(path):  # Path.exists fails where a name is too long
        return path
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    if not path.is_absolute() and os.path.exists(configs_dir() / inside):
        return configs_dir() / inside
    root = configs_dir()
    alike = (p for p in root.rglob("*") if p.is_file() and p.suffix == path.suffix)
    known = [f"configs/{p.relative_to(root)}" for p in alike]
    what = "config file" if path.suffix in ("", ".gin", ".jinja") else "file"
    raise UserError(f"no {what} {str(path)!r}{closest(str(path), known)}")


def _scope_name(target: type) -> str:
    return target.__name__.removesuffix("Config")


def _nested(target: type) -> dict[str, type]:
    """Fields of `target` that are dataclasses themselves, by name."""
    hints = typing.get_type_hints(target)
    return {
        f.name: hints[f.name]
        for f in dataclasses.fields(target)
        if dataclasses.is_dataclass(hints[f.name])
    }


def _with_nested(targets: Sequence[type]) -> list[type]:
    found: dict[type, None] = {}
    pending = list(targets)
    while pending:
        target = pending.pop(0)
        if target not in found:
            found[target] = None
            pending.extend(_nested(target).values())
    return list(found)


class Config:
    """What the gin files and bindings of one run say; made by `load`."""

    def __init__(self, text: str) -> None:
        self.text = text  # every binding in force, as a gin file: kept beside results

    def get(self, target: type[T], scope: str = "", /, **overrides: Any) -> T:
        """Builds `target` from its bindings.

        Args:
            target: a dataclass given to `load`, or nested in one.
            scope: gin scope whose bindings come first (`small/Model.hidden = 128`).
            **overrides: values that win over the bindings, from flags; None is ignored.

        Raises:
            UserError: a bound value that the dataclass refuses.
        """
        import gin

        with gin.config_scope(scope or None):
            values = dict(gin.get_bindings(f"{_GIN_MODULE}.{_scope_name(target)}"))
        values |= {k: v for k, v in overrides.items() if v is not None}
        for name, nested in _nested(target).items():
            if name not in values:
                values[name] = self.get(nested, scope)
        try:
            return target(**settled(target, values))
        except (TypeError, ValueError) as error:
            raise UserError(f"{_scope_name(target)}: {first_line(error)}") from error


def load(
    targets: Sequence[type], files: Sequence[str | Path] = (), bindings: Sequence[str] = ()
) -> Config:
    """Reads gin files and bindings for the dataclasses `targets` and all that they contain.

    Args:
        targets: frozen dataclasses.
        files: gin files, later ones win; searched by `find`.
        bindings: single gin statements, which win over files ("Score.rounds=100").

    Raises:
        UserError: an unknown file, scope or parameter, or a statement that cannot be read; names
            the nearest known name.
    """
    import gin

    gin.clear_config(clear_constants=True)
    targets = _with_nested(targets)
    for target in targets:
        _register(target)
    known = {
        f"{_scope_name(t)}.{f.name}"
        for t in targets
        for f in dataclasses.fields(t)
        if f.init and f.name not in _nested(t)
    }
    # An include is found as --config is. gin's own reader would also try `configs.study` as a
    # package, and break where the checkout, as in an editable install, is on Python's path.
    gin.config._FILE_READERS[:] = [(lambda path: find(path).open(encoding="utf-8"), bool)]
    for file in files:
        path = find(file)
        _check_includes(path)
        _parse(known, str(file), partial(gin.parse_config_file, str(path)))
    for binding in bindings:
        if "=" not in binding:
            raise UserError(f"--bind={binding!r} is not of the form Scope.parameter=value")
        name = binding.partition("=")[0].strip()
        if name.isidentifier() and (name, "gin.macro") not in gin.config._CONFIG:
            same = next((one for one in known if one.endswith(f".{name}")), name)
            alike = closest(same, known)
            raise UserError(f"--bind={binding!r} names no parameter as Scope.parameter{alike}")
        _parse(known, f"--bind={binding!r}", partial(gin.parse_config, binding))
    return Config(gin.config_str())


_GIN_MODULE = "synthdiv"
_registered: set[type] = set()


def _register(target: type) -> None:
    """Gin keeps one registry a process, so each dataclass is registered once."""
    import gin

    if target not in _registered:
        gin.external_configurable(target, name=_scope_name(target), module=_GIN_MODULE)
        _registered.add(target)


def settle(config: Any) -> None:
    """Checks the values of a frozen dataclass and makes them plain, in its `__post_init__`.

    Raises:
        UserError: as `settled`.
    """
    before = vars(config)
    for name, value in settled(type(config), before).items():
        if value is not before[name]:
            object.__setattr__(config, name, value)


def settled(target: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values as a configuration keeps them: paths as texts, scalars of NumPy as numbers.

    "many" where a number belongs is refused, and NaN; an int where a float belongs is fine.

    Args:
        target: a dataclass.
        values: of its fields, by name; those that take more than numbers, texts and paths may be
            anything.

    Raises:
        UserError: names the field and what it takes.
    """
    return {
        name: _settled(f"{_scope_name(target)}.{name}", _taken(target).get(name), value)
        for name, value in values.items()
    }


@functools.cache
def _taken(target: type) -> dict[str, tuple[type, ...]]:
    """What the fields take that are of numbers, texts and paths alone."""
    hints = typing.get_type_hints(target)
    found = {
        name: typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        for name, hint in hints.items()
    }
    plain = (int, float, str, bool, types.NoneType, Path)
    return {name: some for name, some in found.items() if all(one in plain for one in some)}


def _settled(name: str, allowed: tuple[type, ...] | None, value: Any) -> Any:
    if allowed is None:
        return value
    if Path in allowed and isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif getattr(value, "shape", None) == ():  # a scalar of NumPy or JAX
        value = value.item()
    numbers = (*allowed, int) if float in allowed else allowed
    if type(value) not in (numbers if type(value) is int else allowed):
        some = (one for one in allowed if one is not Path)
        wanted = " or ".join("None" if one is types.NoneType else one.__name__ for one in some)
        raise UserError(f"{name} takes {wanted}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, not {value}")
    return value


def _check_includes(path: Path, seen: tuple[Path, ...] = ()) -> None:
    """Refuses includes that are not there, which gin would report in several ways."""
    if path in seen:
        raise UserError(f"{path} includes itself")
    for line in path.read_text(encoding="utf-8").splitlines():
        if included := re.match(r"include\s+(['\"])(.+?)\1", line):
            try:
                _check_includes(find(included[2]), (*seen, path))
            except UserError as error:
                raise UserError(f"{path} includes {included[2]!r}: {error}") from None


def _parse(known: set[str], where: str, parse: Callable[[], object]) -> None:
    try:
        parse()
    except Exception as error:
        raise UserError(f"{where}: {_explain(error, known)}") from error
    import gin

    for (_, selector), parameters in gin.config._CONFIG.items():
        for parameter in parameters:
            name = f"{selector.removeprefix(_GIN_MODULE + '.')}.{parameter}"
            if name not in known and not name.startswith("gin."):
                raise UserError(f"{where}: no parameter {name!r} here{closest(name, known)}")


def _explain(error: Exception, known: set[str]) -> str:
    """Gin's complaints in one line that names the closest known parameter."""
    text = str(error)
    if unknown := re.search(r"No configurable matching '([^']+)'", text):
        scope = unknown[1].split("/")[-1]
        scopes = sorted({k.split(".")[0] for k in known})
        hint = closest(scope.split(".")[0], scopes) or f"; known scopes: {', '.join(scopes)}"
        return f"no scope {scope!r}{hint}"
    if unknown := re.search(
        r"Configurable '([^']+)' doesn't have a parameter named '([^']+)'", text
    ):
        name = f"{unknown[1].lstrip('.')}.{unknown[2]}"
        return f"no parameter {name!r}{closest(name, known)}"
    if isinstance(error, SyntaxError) and error.msg:
        return error.msg.partition("\n")[0]
    return first_line(error)
