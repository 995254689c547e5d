"""Addresses of what lies in a store; one that holds credentials is refused without being shown."""

import dataclasses
import re

from synthdiv.errors import UserError

# Scheme -> the package that reads it, and the extra that brings the package.
SCHEMES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "hf": ("huggingface_hub", "hub")}

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z0-9]+)://(?P<rest>.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where an object, or a directory of objects, lies.

    Attributes:
        scheme: a key of `SCHEMES`.
        path: bucket and key, without a slash at either end.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> "Address":
        return Address(self.scheme, self.path.rpartition("/")[0])

    def __truediv__(self, name: str) -> "Address":
        return Address(self.scheme, f"{self.path}/{name}")

    @property
    def within_bucket(self) -> bool:
        """Whether it names more than a bucket."""
        return "/" in self.path


def is_remote(given: object) -> bool:
    """Whether a value is the address of something in a store, rather than a path."""
    found = _ADDRESS.match(given) if isinstance(given, str) else None
    return found is not None and found["scheme"].lower() in SCHEMES


def parse(given: str) -> Address:
    """Reads an address.

    Raises:
        UserError: it is none, or holds a password or a signature, which are not repeated.
    """
    found = _ADDRESS.fullmatch(given)
    if found is None or found["scheme"].lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UserError(f"{given!r} is no address of a store; known: {known}")
    scheme, rest = found["scheme"].lower(), found["rest"]
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise UserError(
            f"an address {scheme}://... holds a password, a signature or a query: leave it out; "
            "credentials come from the environment"
        )
    parts = rest.rstrip("/").split("/")
    if not all(parts) or {".", ".."} & set(parts) or not rest.isprintable():
        raise UserError(f"{given!r} is no address: {scheme}://BUCKET/NAME/...")
    return Address(scheme, "/".join(parts))
