"""What all commands share: their flags, how they end, and `synthdiv CMD`.

A command module has a `FLAGS` made by `command`, a `main()`, and nothing that is slow to import. It
ends with 0 when done, 2 after the user's mistake (one line on stderr), 75 when it was paused (or
sent SIGTERM) and goes on when run again, 130 after Ctrl-C, 1 with a traceback after anything else.
"""

import contextlib
import errno
import importlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from absl import flags

from synthdiv import config as configuration
from synthdiv import places
from synthdiv.errors import Paused, UserError, closest, needs_extra
from synthdiv.parsers import BackendParser, NumbersParser, PathsParser
from synthdiv.signals import Terminated, hear_signals

if TYPE_CHECKING:
    from synthdiv.corpora import Corpus
    from synthdiv.engine import Engine
    from synthdiv.llm import LLMConfig, Session

COMMANDS = {
    "topics": "topic seeds out of pages",
    "generate": "a corpus out of topic seeds",
    "score": "the diversity of a corpus, or of several compared",
    "gaps": "what a scored corpus lacks, as topic seeds",
    "filter": "a corpus without what does not belong into it",
    "select": "the most diverse part of a corpus",
    "validate": "how well a judge knows the classes of labelled documents",
    "tokenize": "packed sequences of tokens out of a corpus",
    "pretrain": "a model out of a mixture of tokens",
    "sft": "a fine-tuned model out of a pre-trained one",
    "evaluate": "the accuracy of a checkpoint",
    "sample": "text that a checkpoint writes",
    "export": "a Hugging Face Llama out of a checkpoint",
    "study": "all of these for several corpora, and how score relates to accuracy",
}

# Parameters of the library whose flags are called otherwise.
_FLAGS_OF = {"backend": "llm", "corpora": "corpus", "inputs": "input"}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

PAUSED_EXIT = 75  # EX_TEMPFAIL: "try again later"; launchers requeue on it


def command(doc: str) -> flags.FlagValues:
    """Returns the flag values of one command, with the flags that all have; --help prints `doc`.

    Each command has its own, so that several can be imported into one process.
    """
    values = flags.FlagValues()
    values.__dict__["__doc"] = doc  # past FlagValues' own __setattr__, which takes flags only
    flags.DEFINE_multi_string(
        "config", [], "Gin file; may be repeated, later ones win.", flag_values=values
    )
    flags.DEFINE_multi_string(
        "bind", [], "Gin binding 'Scope.parameter=value'; may be repeated.", flag_values=values
    )
    flags.DEFINE_bool("dry_run", False, "Print the plan and touch nothing.", flag_values=values)
    flags.DEFINE_bool("help", False, "Print this.", flag_values=values, short_name="h")
    return values


def corpora_flag(values: flags.FlagValues, name: str, what: str) -> None:
    """Adds a flag that names corpora: files, directories, patterns, addresses."""
    flag: flags.Flag[list[str]] = flags.Flag(
        PathsParser(), flags.ListSerializer(","), name, [], what
    )
    flags.DEFINE_flag(flag, values)


def text_flags(values: flags.FlagValues) -> None:
    """Adds the flags that say where a corpus's rows have their text."""
    flags.DEFINE_string("text_column", "text", "Column that holds the text.", flag_values=values)
    flags.DEFINE_string(
        "text_template",
        None,
        "Text out of several columns, as '{instruction}\\n{output}', or out of conversations, "
        "as '{messages}'.",
        flag_values=values,
    )


def open_corpora(
    values: flags.FlagValues, data: Sequence[str], names: Sequence[str] | None = None
) -> "list[Corpus]":
    """Opens the corpora that a flag names, called `names`, with the text that `text_flags` say."""
    from synthdiv.corpora import Corpus, check_names

    template = values.text_template
    if template is not None:
        template = template.replace("\\n", "\n").replace("\\t", "\t")
    called = check_names(names, len(data)) if names else [None] * len(data)
    return [
        Corpus(one, values.text_column, text_template=template, name=name)
        for one, name in zip(data, called, strict=True)
    ]


def judge_flags(values: flags.FlagValues) -> None:
    """Adds the flags that say which language model answers the prompts."""
    llm: flags.Flag[str] = flags.Flag(
        BackendParser(),
        flags.ArgumentSerializer(),
        "llm",
        None,
        "Who answers: offline (a deterministic stand-in that is no LLM), openai (any compatible "
        "server), gemini, batch (nobody yet: writes a file), or what another package adds.",
    )
    flags.DEFINE_flag(llm, values)
    flags.DEFINE_string("model", None, "The model's name at the server.", flag_values=values)
    what = "The server, as http://host:port/v1, or several of one model with commas between."
    flags.DEFINE_string("base_url", None, what, flag_values=values)
    flags.DEFINE_integer(
        "concurrency", None, "Calls in flight at most.", lower_bound=1, flag_values=values
    )
    caps_flags(values)
    engine_flags(values)
    what = "The server's, for --dry_run: '50 requests/s', '9000 tokens/s' (written), '12 s/call'."
    flags.DEFINE_string("speed", None, what, flag_values=values)
    flags.DEFINE_bool("fresh", False, "Ask again what was answered before.", flag_values=values)


def engine_flags(values: flags.FlagValues) -> None:
    """Adds the flags that say where work is done."""
    what = "Where work is done: on this machine, or on the machines of a Ray cluster."
    flags.DEFINE_enum("engine", "local", ["local", "ray"], what, flag_values=values)
    what = "The cluster, HOST:PORT; else RAY_ADDRESS, a cluster that runs here, or a new one."
    flags.DEFINE_string("ray_address", None, what, flag_values=values)


def engine_of(values: flags.FlagValues) -> "Engine":
    """Returns what `engine_flags` say."""
    from synthdiv.engine import Engine

    return Engine(values.engine, values.ray_address)


def caps_flags(values: flags.FlagValues) -> None:
    """Adds the flags that bound what language models may cost."""
    flags.DEFINE_float(
        "max_cost_usd", None, "Never spend more than this.", lower_bound=0.0, flag_values=values
    )
    flags.DEFINE_integer(
        "max_calls", None, "Never send more calls than this.", lower_bound=0, flag_values=values
    )


def numbers_flag(values: flags.FlagValues, name: str, what: str) -> None:
    """Adds a flag that takes one whole number or several."""
    flag: flags.Flag[list[int]] = flags.Flag(
        NumbersParser(), flags.ListSerializer(","), name, [], what
    )
    flags.DEFINE_flag(flag, values)


def seed_flag(values: flags.FlagValues) -> None:
    """Adds --seed."""
    flags.DEFINE_integer("seed", None, "Of every random draw.", lower_bound=0, flag_values=values)


def required(values: flags.FlagValues, *names: str) -> None:
    """Refuses the command line if one of the flags `names` was not given."""
    for name in names:
        if values[name].value in (None, "", []):
            raise UserError(f"--{name} is required; --help explains it")


def load(values: flags.FlagValues, *targets: type) -> configuration.Config:
    """Reads --config and --bind for the dataclasses that the command takes."""
    return configuration.load(targets, values.config, values.bind)


def open_session(
    values: flags.FlagValues,
    config: configuration.Config,
    directory: Path | None,
    judge: str | None = None,
    kept: bool = False,
) -> "Session":
    """Opens the session that the judge flags describe; answers are kept in `directory`.

    With `directory` None nothing is stored. Another judge or writer, BACKEND:MODEL[@URL], shares
    the store and so the caps; --fresh does not ask anew for answers that are `kept`.
    """
    from synthdiv import llm

    settings = judge_settings(values, config, judge)
    store, fresh = directory and directory / "answers.sqlite", values.fresh and not kept
    asking = not values.dry_run
    return llm.open_session(settings, store, fresh, asking, engine_of(values))


@contextlib.contextmanager
def open_judges(
    values: flags.FlagValues, config: configuration.Config, directory: Path
) -> "Iterator[tuple[Session, Session | None]]":
    """Opens the judge's session, and the one that --second_judge names."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(open_session(values, config, directory))
        second = None
        if values.second_judge:
            second = open_session(values, config, directory, values.second_judge, True)
            stack.enter_context(second)
        yield first, second


def judge_settings(
    values: flags.FlagValues, config: configuration.Config, judge: str | None = None
) -> "LLMConfig":
    """Returns what the judge flags say, or what BACKEND:MODEL[@URL] shares with them."""
    from synthdiv.llm import LLMConfig
    from synthdiv.llm.config import parse_whom

    given = {"backend": values.llm, "model": values.model, "base_url": values.base_url}
    return config.get(
        LLMConfig,
        **(given if judge is None else parse_whom(judge)),
        concurrency=values.concurrency,
        max_cost_usd=values.max_cost_usd,
        max_calls=values.max_calls,
        speed=values.speed,
    )


def run(
    main: Callable[[], None], values: flags.FlagValues, argv: list[str] | None = None
) -> NoReturn:
    """Parses the command line, runs `main`, and exits with the code that says how it ended."""
    argv = list(sys.argv if argv is None else argv)
    try:
        _parse(values, argv)
        if values.help:
            print(values.__dict__["__doc"].strip() + "\n" + values.get_help())
            sys.exit(0)
        hear_signals()
        with places.local(values, values.dry_run):
            main()
        sys.stdout.flush()
    except UserError as error:
        _exit(2, f"error: {_with_flags(str(error), values)}")
    except Paused as pause:
        known = {flag: value for flag, value in pause.flags.items() if flag in values}
        go_on = f": {_again(argv, known)}" if known else ""
        _exit(PAUSED_EXIT, f"paused: {_with_flags(str(pause), values)}{go_on}")
    except ModuleNotFoundError as error:
        lacking = needs_extra(error)
        if lacking is None:
            raise
        _exit(2, f"error: {lacking}")
    except Terminated:
        _exit(PAUSED_EXIT, "paused: SIGTERM came; run the same command again to go on")
    except KeyboardInterrupt:
        _exit(130, "interrupted; run the same command again to go on")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _exit(PAUSED_EXIT, f"paused: no room left on the disk{where}; make some, and run it again")
    sys.exit(0)


def _parse(values: flags.FlagValues, argv: list[str]) -> None:
    try:
        rest = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        name = f"--{error.flagname}"
        raise UserError(f"no flag {name}{closest(name, [f'--{one}' for one in values])}") from None
    except flags.Error as error:
        parser = r": (invalid literal for int\(\)|could not convert string to float).*"
        raise UserError(re.sub(parser, " is no number", " ".join(str(error).split()))) from None
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}; flags are written --name=value")


def _with_flags(message: str, values: flags.FlagValues) -> str:
    """A message of the library, which names `parameters`, with the flags that set them.

    `name` and `name=value` become that flag, if there is one; `Scope.name=value` a binding.
    """

    def flag(found: re.Match[str]) -> str:
        scope, name, value = found.groups()
        if scope and value:
            binding = f"{scope}{name}{value}"
            return f'--bind="{binding}"' if "'" in value else f"--bind={binding}"
        name = _FLAGS_OF.get(name, name)
        return f"--{name}{value or ''}" if name in values and not scope else found[0]

    return re.sub(r"`([A-Z]\w*\.)?(\w+)(=[^`]+)?`", flag, message)


def _again(argv: list[str], flags: Mapping[str, float]) -> str:
    """The command line to go on with: `flags` as given, and no --fresh, which would ask again."""
    name = Path(argv[0])
    if name.suffix == ".py":
        module = name.parent.name if name.stem == "__main__" else name.stem
        start = f"python -m synthdiv.{module}"
    else:
        start = argv[0] if " " in argv[0] else name.name
    kept, skip = [], False
    for word in argv[1:]:
        flag, given, _ = word.lstrip("-").partition("=")
        if skip or (word.startswith("-") and flag in {*flags, "fresh"}):
            skip = not skip and not given and flag in flags  # "--max_calls 10", in two words
            continue
        kept.append(word)
    return shlex.join([*start.split(), *kept, *(f"--{f}={v:.12g}" for f, v in flags.items())])


def command_line(name: str) -> str:
    """The command as it was typed, to be repeated in what it writes; no password is in it."""
    from synthdiv.llm.secrets import without_password

    typed = sys.argv[1 + (sys.argv[1:2] == [name]) :]
    return without_password(shlex.join(["synthdiv", name, *typed]))


def _exit(code: int, line: str) -> NoReturn:
    from synthdiv.llm.secrets import without_password

    print(without_password(" ".join(line.split())), file=sys.stderr)
    sys.exit(code)


def main() -> NoReturn:
    """`synthdiv CMD ...` is `python -m synthdiv.CMD ...`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--version", "version"):
        from synthdiv import __version__

        print(__version__)
        sys.exit(0)
    if name in ("--help", "-h", "help"):
        print("usage: synthdiv COMMAND [--flag=value ...]; COMMAND --help says more\n")
        print("\n".join(f"  {command:<10} {what}" for command, what in COMMANDS.items()))
        sys.exit(0)
    if name not in COMMANDS:
        _exit(2, f"error: no command {name!r}{closest(name, COMMANDS)}; --help lists them")
    # The study's command shares its name with its room, so it lives inside it.
    module = importlib.import_module(f"synthdiv.{name}" + (".__main__" * (name == "study")))
    run(module.main, module.FLAGS, [f"synthdiv {name}", *sys.argv[2:]])


if __name__ == "__main__":
    main()
