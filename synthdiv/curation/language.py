"""Which language a text is in: its beginning and its end, each on its own.

The language is py3langid's naive Bayes over byte n-grams, with its probabilities. Where English is
wanted, a window in which every fifth word is one of the commonest English ones is not asked about:
that is nearly all English prose, and takes a twentieth of the time. A window without one letter of
a wanted language's script is in another, however short it is.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from synthdiv.errors import UserError, closest

_WINDOW = 400  # characters
_LEAST_LETTERS = 40  # in a window of which anything is said
_ENGLISH_SHARE = 0.2
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "the of and to in a is that it for as was with be on by he i this are or his from at "
        "which but have an had they you were not their one all her she there we been has when "
        "who will more if no out so what up into its about than them can only other time some "
        "could do my",
    )
)
_WORD = re.compile(r"[a-z']+")
# Languages by the scripts that they are written in, as Unicode names them; the others use LATIN.
_SCRIPTS = {
    "ARABIC": "ar ary arz fa ku ps sdh ug ur",
    "ARMENIAN": "hy",
    "BENGALI": "as bn",
    "CJK": "ja ko wuu yue zh",
    "CYRILLIC": "ba be bg crh kk ky mk mn ru sr tg tt uk uz",
    "DEVANAGARI": "gom hi mr ne sa",
    "ETHIOPIC": "am",
    "GEORGIAN": "ka",
    "GREEK": "el grc",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "hbo he",
    "HIRAGANA": "ja",
    "KANNADA": "kn",
    "KATAKANA": "ja",
    "KHMER": "km",
    "LAO": "lo",
    "LATIN": "crh gom ku sr tt uz",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "ORIYA": "or",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "TIBETAN": "dz",
}
_OTHER_THAN_LATIN = frozenset(" ".join(_SCRIPTS.values()).split())
_LEAST_OF_A_SCRIPT = 2  # letters, so that a text is not in Greek for its one pi
_ADDRESS = re.compile(r"\S*(?:://|@|www\.)\S*|[\d_]+")
UNKNOWN = "unknown"


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def windows(text: str) -> list[str]:
    """The beginning of a text, and its end where that is another part of it."""
    if len(text) < 2 * _WINDOW:
        return [text[:_WINDOW]]
    return [text[:_WINDOW], text[-_WINDOW:]]


def _identified(window: str) -> tuple[str, float]:
    plain = _ADDRESS.sub(" ", window)
    if sum(map(str.isalpha, plain)) < _LEAST_LETTERS * (0.25 if not plain.isascii() else 1):
        return UNKNOWN, 1.0
    language, confidence = _identifier().classify(plain)
    return str(language), float(confidence)


def _other_script(window: str, wanted: Sequence[str]) -> str | None:
    """The script of most letters of a window that has none of a script of the wanted languages."""
    used = Counter[str]()
    for letter in filter(str.isalpha, _ADDRESS.sub(" ", window)):
        script = unicodedata.name(letter, "").partition(" ")[0]
        if script in _SCRIPTS:
            written = _SCRIPTS[script].split()
            if any(
                code in written or (script == "LATIN" and code not in _OTHER_THAN_LATIN)
                for code in wanted
            ):
                return None
            used[script] += 1
    return used.most_common(1)[0][0] if used.total() >= _LEAST_OF_A_SCRIPT else None


def _is_english(window: str) -> bool:
    words = _WORD.findall(window.lower())
    return sum(map(_ENGLISH.__contains__, words)) >= _ENGLISH_SHARE * max(len(words), 1)


def other_language(text: str, wanted: Sequence[str], confidence: float) -> str | None:
    """Says in which other language a text begins or ends, or None.

    Args:
        text: a document.
        wanted: codes of ISO 639.
        confidence: the least probability that is believed.
    """
    for window in windows(text):
        if "en" in wanted and _is_english(window):
            continue
        shown = " ".join(window.split())[:80]
        language, sure = _identified(window)
        if language not in (*wanted, UNKNOWN, "zxx") and sure >= confidence:
            return f"{language} ({sure:.2f}): {shown}"
        if script := _other_script(window, wanted):
            return f"{script.lower()} script: {shown}"
    return None


def main_language(texts: Iterable[str]) -> str:
    """The language that most texts begin in; "en" where none can be told."""
    counts = Counter(
        "en" if _is_english(window) else _identified(window)[0]
        for text in texts
        for window in windows(text)[:1]
    )
    counts.pop(UNKNOWN, None)
    return counts.most_common(1)[0][0] if counts else "en"


def check_languages(codes: Iterable[str]) -> None:
    """Refuses a code that is of no known language.

    Raises:
        UserError: names the nearest.
    """
    known = _identifier().labels
    for code in codes:
        if code not in known:
            raise UserError(f"no language {code!r} is known by its code{closest(code, known)}")
