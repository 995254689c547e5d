"""When two names mean one thing: normal forms, what tells names apart, surnames and initials.

What is not known is not guessed: names that differ in a number, a sign or a direction ("C" and
"C++", "Na+" and "Na-", "World War I" and "World War II") are never one, whatever else they share.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection

from synthdiv.diversity.reading import commonness_weight

# With the signs before and after it that tell apart: .NET, #MeToo, -1, C++, Na-, US$, C sharp.
_WORD = re.compile(r"(?:(?<!\w)(?:[.#@$+*]|-(?=\d)))?\w+(?:[+#*$@\u266f\u266d-]+(?!\w))?")
_ACCENTS = re.compile("[\u0300-\u036f]")
_ROMAN = re.compile(r"(?=[ivx])(x{0,3})(ix|iv|v?i{0,3})")
SMALL = frozenset(["a", "an", "and", "by", "for", "from", "in", "of", "on", "the", "to", "with"])
_TELLING = frozenset(
    word
    for words in (
        "anti pre post non micro macro early late old new before after ancient medieval modern",
        "east eastern west western north northern south southern upper lower inner outer",
        "first second third fourth fifth primary secondary minor major positive negative",
        "male female left right",
    )
    for word in words.split()
)


@functools.lru_cache(maxsize=1 << 17)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in their normal form: lower case, without accents, articles, plurals.

    Signs at either end of a word stay ("c++", "na-", ".net"), those between words go.
    """
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", name.replace("_", " ")))
    plain = unicodedata.normalize("NFC", plain).casefold()
    plain = plain.replace("\u2212", "-").replace("\u2019", "'").replace("'s", "")
    words = [_singular(word) for word in _WORD.findall(plain)]
    while len(words) > 1 and words[0] in ("the", "a", "an"):
        del words[0]
    return tuple(words) or ((name.casefold(),) if name else ())


def is_proper(name: str) -> bool:
    """Whether a name may be one thing's own: several words, each with a capital."""
    words = [word for word in re.findall(r"\w+", name) if word not in SMALL]
    return len(words) > 1 and all(word[0].isupper() for word in words)


def _singular(word: str) -> str:
    if len(word) <= 3 or not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(ch|sh|x|ss)es$", word) else word[:-1]


def _tells(word: str) -> bool:
    """Whether a word makes another thing of what it stands beside."""
    special = len(word) == 1 or not word.isalpha() or word in _TELLING
    return special or bool(_ROMAN.fullmatch(word))


def told_apart(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two names differ in a word that makes them two things."""
    return any(_tells(word) for word in set(one) ^ set(other))


def contains(one: Collection[str], other: Collection[str]) -> bool:
    """Whether all words of one name are in the other, and nothing tells them apart."""
    shorter, longer = sorted((set(one), set(other)), key=len)
    return shorter <= longer and not told_apart(one, other)


def short_for(one: str, other: str, lower: Collection[str]) -> bool:
    """Whether one name may be a surname or the initials of the other.

    A last word that is a common one, or that is written in lower case anywhere, is no surname:
    rye bread is no bread by its full name.

    Args:
        one, other: names as they are written.
        lower: words, in normal form, that are written in lower case somewhere.
    """
    shorter, _ = sorted((one, other), key=len)
    short, long = sorted((words_of(one), words_of(other)), key=len)
    if len(short) == len(long) or not short:
        return False
    initials = "".join(word[0] for word in long if word not in SMALL)
    if len(short) == 1 and len(short[0]) > 2 and short[0] == initials and shorter.isupper():
        return True
    return (
        long[-len(short) :] == short
        and not any(map(_tells, long))
        and not any(word in lower or commonness_weight(word) < 1 for word in long)
    )
