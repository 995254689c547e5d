"""The normal form in which texts are compared: words in lower case, one space between them."""

import re
import unicodedata

_PLAIN = bytes(
    ord(chr(byte).lower()) if chr(byte).isalnum() else 32 for byte in range(128)
) + bytes(range(128, 256))
_NO_WORD = re.compile(r"[^\w]+|_+")
# Scripts that put no spaces between words: each of their characters counts as a word.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff])"
)


def normal_form(text: str) -> str:
    """Returns a text's words: NFKC, lower case, without punctuation, one space between them."""
    if text.isascii():
        return " ".join(text.encode().translate(_PLAIN).decode().split())
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_NO_WORD.sub(" ", _UNSPACED.sub(r" \1 ", text)).split())
