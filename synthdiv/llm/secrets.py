"""Keys and passwords: what may be one, and text from outside without any.

A secret is found by its own value, whatever was done to it on the way: split over lines, escaped
(`\\u0041`, `%41`, `&#65;`), in capitals, in base64 or in hexadecimal. What only looks like a key of
one of the known makes goes, too.
"""

import base64
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator

from synthdiv.errors import UserError
from synthdiv.llm.config import urls_of

_VARIABLES = ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
_ADDRESSES = ("OPENAI_BASE_URL",)
_SHORTEST = 6  # shorter ones ("none", "EMPTY") are words; taking them out would spoil replies
_LONGEST_WORDS = 400
_READ = 20_000  # characters of a server's words that are looked at
_HIDDEN = "***"

_KEY_LIKE = re.compile(r"(?:\bBearer\s+|\bsk-|\bAIza|\bhf_)[\w*.\-]{6,}")
_USERINFO = re.compile(r"(https?://)\S*@")
_ESCAPED = re.compile(
    r"%(?:25)*([0-9a-f]{2})|\\+u([0-9a-f]{4})|\\+x([0-9a-f]{2})|&#x([0-9a-f]{1,4});"
    r"|&#([0-9]{1,5});|\\+[nrt]",
    re.IGNORECASE,
)
_EATEN = (0, 1, 2, 4)  # characters that a "%" or "&#" before a secret may make an escape of
_BETWEEN = dict.fromkeys(map(ord, " \t\n\r\v\f\u200b\\\"'+,>|"))  # what text is split with


def check_key(variable: str, key: str) -> None:
    """Refuses a key that no HTTP header can hold.

    Raises:
        UserError: says what is wrong with it and does not show it.
    """
    if not all("!" <= character <= "~" for character in key):
        raise UserError(
            f"the key in the environment variable {variable} cannot be one: it has a space, a"
            " line's end, a control character or a letter outside ASCII in it"
        )


def without_password(text: str) -> str:
    """Returns `text` with the user and password of any address in it hidden."""
    return _USERINFO.sub(rf"\1{_HIDDEN}@", text)


class Secrets:
    """What must not be shown, and how to take it out of text.

    Args:
        values: keys and passwords; those that are shorter than a secret can be are left alone.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._forms = {
            form[eaten:]
            for value in values
            if len(value) >= _SHORTEST
            for form in map(_bare, _forms(value))
            for eaten in _EATEN
            if len(form) - eaten >= _SHORTEST
        }

    @classmethod
    def known(cls, base_url: str | None) -> "Secrets":
        """The keys of the environment and the passwords of the addresses calls may go to."""
        values = [os.environ.get(name, "") for name in _VARIABLES]
        given = (base_url, *map(os.environ.get, _ADDRESSES))
        for url in (url for urls in given for url in urls_of(urls or "")):
            user, _, _ = urllib.parse.urlsplit(url).netloc.rpartition("@")
            password = user.partition(":")[2] or user
            values += [password, urllib.parse.unquote(password)]
        return cls(values)

    def out_of(self, text: str) -> str:
        """Returns `text` with every secret replaced by asterisks."""
        if not self._forms:
            return text
        bare = _bare(text)
        if not any(form in bare for form in self._forms):
            return text
        return self._cut(text)

    def words(self, text: str) -> str:
        """Returns a server's words on one line, without a key, and no longer than one reads."""
        text = self.out_of(text[:_READ].encode("utf-8", "replace").decode("utf-8"))
        text = " ".join(without_password(_KEY_LIKE.sub(_HIDDEN, text)).split())
        return text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + "..."

    def _cut(self, text: str) -> str:
        """Takes the secrets out of a text that holds some; each place is mapped back to it."""
        bare, places = [], []
        for character, start, end in _characters(text):
            if ord(character) not in _BETWEEN:
                bare.append(character.lower() if len(character.lower()) == 1 else character)
                places.append((start, end))
        joined = "".join(bare)
        spans = sorted(
            (places[found.start()][0], places[found.end() - 1][1])
            for form in self._forms
            for found in re.finditer(re.escape(form), joined)
        )
        kept, at = [], 0
        for start, end in spans:
            if start >= at:
                kept += [text[at:start], _HIDDEN]
            at = max(at, end)
        return "".join([*kept, text[at:]])


def _forms(value: str) -> Iterator[str]:
    """A secret as it may come back: itself, in hexadecimal, in base64 at each of its offsets."""
    raw = value.encode("utf-8", "replace")
    yield value
    yield raw.hex()
    for offset in range(3):
        code = base64.b64encode(b"\0" * offset + raw).decode()
        # The first and last characters depend on what stands around the secret.
        code = code[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        yield code
        yield code.replace("+", "-").replace("/", "_")


def _bare(text: str) -> str:
    """Text without escapes, separators and capitals."""
    return _ESCAPED.sub(_unescaped, text).translate(_BETWEEN).lower()


def _unescaped(found: re.Match[str]) -> str:
    *hexadecimal, decimal = found.groups()
    code = next((int(h, 16) for h in hexadecimal if h), int(decimal or 32))
    return chr(code)


def _characters(text: str) -> Iterator[tuple[str, int, int]]:
    """Each character, escapes read, and where it stands in the text."""
    at = 0
    for found in _ESCAPED.finditer(text):
        yield from ((text[i], i, i + 1) for i in range(at, found.start()))
        yield _unescaped(found), found.start(), found.end()
        at = found.end()
    yield from ((text[i], i, i + 1) for i in range(at, len(text)))
