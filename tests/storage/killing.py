"""A kill at a chosen request, for tests in one process."""


class Killed(BaseException):
    """What no code of ours handles, as none handles SIGKILL."""
