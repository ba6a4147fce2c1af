"""Text to terms, as Elasticsearch's `english` analyzer does it (Lucene's `EnglishAnalyzer`).

The steps, in order, and how they are done here:

1. Standard tokenizer (Unicode's word boundaries, UAX #29): runs of letters, digits and `_`; a full
   stop, apostrophe or colon between two letters does not split (`u.s`, `o'brien`), nor does a full
   stop, comma, semicolon or apostrophe between two digits (`1,000.5`); each Chinese character or
   hiragana is a token. Done with one regular expression.
2. Possessive filter: a final `'s` is cut off (also with ’ and ＇).
3. Lower case. Done first here, which makes no difference.
4. Stop words: Lucene's 33.
5. Porter's stemmer, on words of three characters and more. Done with PyStemmer (Snowball).

Known differences from Lucene: Snowball's Porter follows the published paper, Lucene's has its
author's two later departures (`-bli` → `-ble`, `-logi` → `-log`), so that `possibly` and `geology`
do not meet `possible` and `geological` here; `stemmer: english` joins them. Scripts without spaces
other than Chinese and Japanese (Thai, Lao, …) are not split into words.
"""

from __future__ import annotations

import hashlib
import re
import threading
from typing import TYPE_CHECKING

from steper.retrieve.retriever_settings import BM25Settings

if TYPE_CHECKING:
    from collections.abc import Callable

# org.apache.lucene.analysis.en.EnglishAnalyzer.ENGLISH_STOP_WORDS_SET
_STOPWORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there
these they this to was will with
"""
LUCENE_STOPWORDS = frozenset(_STOPWORDS.split())

_SINGLE = r"\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


def _token_pattern(word: str, letter: str, apostrophes: str) -> str:
    """Words, with the marks that join what stands on both their sides."""
    between_letters = rf"(?<={letter}[.:·{apostrophes}])(?={letter})"
    between_digits = rf"(?<=\d[.,;{apostrophes}])(?=\d)"
    return rf"{word}+(?:[.,:;·{apostrophes}](?:{between_letters}|{between_digits}){word}+)*"


# The pattern for pure ASCII gives the same tokens as the other and takes two thirds of the time.
_ASCII_TOKEN = re.compile(_token_pattern(r"\w", "[a-z]", "'"), re.ASCII)
_TOKEN = re.compile(
    _token_pattern(rf"[^\W{_SINGLE}]", rf"[^\W\d_{_SINGLE}]", "'‘’＇") + rf"|[{_SINGLE}]"
)
_POSSESSIVE = ("'s", "’s", "＇s")

_PROBE = (
    "The U.S. company's 1,000.5 shares, O’Brien’s children: possibly generously flying "
    "skies, news of 東京 and geologies in Ångström_units, don't they? İstanbul"
)


def words(text: str) -> list[str]:
    """Lower-cased tokens of a text, before any filter (steps 1 and 3)."""
    if text.isascii():
        return _ASCII_TOKEN.findall(text.lower())
    # Java lowers İ to i; Python to i and a combining dot, which would split the word.
    return _TOKEN.findall(text.replace("İ", "I").lower())


class Analyzer:
    """Text to index terms by the settings `stopwords` and `stemmer`. Thread-safe."""

    def __init__(self, settings: BM25Settings) -> None:
        self._stopwords = LUCENE_STOPWORDS if settings.stopwords == "lucene" else frozenset[str]()
        self._stem: Callable[[str], str] | None = None
        # A PyStemmer object is not re-entrant.
        self._lock = threading.Lock()
        if settings.stemmer != "none":
            import Stemmer

            self._stem = Stemmer.Stemmer(settings.stemmer).stemWord

    def term(self, word: str) -> str:
        """The index term of one of `words(text)`; empty when the word is left out."""
        if word.endswith(_POSSESSIVE):
            word = word[:-2]
        if word in self._stopwords:
            return ""
        # Lucene's PorterStemmer leaves words of one and two characters as they are.
        if self._stem is None or len(word) < 3:
            return word
        with self._lock:
            return self._stem(word)

    def terms(self, text: str) -> list[str]:
        """The index terms of a text, in order, repeats included."""
        return [term for word in words(text) if (term := self.term(word))]

    def check(self) -> str:
        """A hash of what this analyzer makes of a probe text.

        An index keeps it, so that one made by another tokenizer or stemmer version is noticed.
        """
        return hashlib.sha256("\n".join(self.terms(_PROBE)).encode()).hexdigest()[:16]
