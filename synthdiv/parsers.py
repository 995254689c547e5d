"""What some flags take: paths, whole numbers, the name of a backend."""

from absl import flags


class PathsParser(flags.ArgumentParser[list[str]]):
    """Paths between commas; one that exists may hold commas itself."""

    syntactic_help = "paths or addresses, separated by commas"

    def parse(self, argument: str | list[str]) -> list[str]:
        if not isinstance(argument, str):
            return argument  # the default, when the command is imported
        from synthdiv.corpora import split_paths

        return split_paths(argument)

    def flag_type(self) -> str:
        return "paths"


class BackendParser(flags.ArgumentParser[str]):
    """The name of a backend: one of ours, or one that an installed package adds."""

    syntactic_help = "a backend's name"

    def parse(self, argument: str) -> str:
        from synthdiv.llm.backends import check_backend

        check_backend(argument)
        return argument

    def flag_type(self) -> str:
        return "backend"


class NumbersParser(flags.ArgumentParser[list[int]]):
    """Whole numbers between commas."""

    syntactic_help = "whole numbers, separated by commas"

    def parse(self, argument: str | list[int]) -> list[int]:
        if not isinstance(argument, str):
            return argument
        return [int(number) for number in argument.split(",")]

    def flag_type(self) -> str:
        return "numbers"
