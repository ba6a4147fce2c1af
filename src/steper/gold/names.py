"""How names, countries, dates and places stand in an English sentence."""

from __future__ import annotations

import re

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = re.compile(rf"\b(\d{{1,2}}(?:st|nd|rd|th)?,?\s+{_MONTH}|{_MONTH}\s*\d{{1,2}}\b)", re.I)
_LOOSE_DATE = re.compile(
    r"(c\.|ca\.|(circa|about|around|between|before|after|by|in|on|from)\b)", re.I
)
_CLOCK = re.compile(r"\b\d{1,2}(:\d\d)?\s*([ap]\.?m\b|o'clock)", re.I)

_THE_COUNTRY = re.compile(
    r"(united (states|kingdom|arab|nations)|u\.?s\.?\b|u\.?s\.?a\.?\b|u\.?k\.?\b|netherlands|"
    r"philippines|bahamas|maldives|gambia|soviet|ussr|czech republic|dominican republic|"
    r"central african|(\w+ )?(republic|kingdom|empire|duchy|county|city|state) of\b|"
    r".*\b(dynasty|empire|commonwealth|union|confederation|caliphate|sultanate|republic)$|"
    r".*\bislands$)",
    re.I,
)
_DEMONYM_WORDS = """
french dutch czech swiss greek thai welsh filipino argentine slovene slovak croat serb lao
malagasy uzbek kazakh kyrgyz tajik turkmen israeli iraqi pakistani bangladeshi saudi kuwaiti
yemeni omani qatari emirati bahraini azerbaijani azeri nepali somali punjabi bengali swazi
tajikistani kazakhstani uzbekistani basque catalan afghan icelandic greenlandic bosniak monegasque
cypriot scots english
"""
_DEMONYMS = frozenset(_DEMONYM_WORDS.split())
_NO_DEMONYM_WORDS = """
iran japan sudan jordan oman bhutan taiwan azerbaijan milan vatican catalan isfahan
"""
_NO_DEMONYMS = frozenset(_NO_DEMONYM_WORDS.split())
_DEFINITE = re.compile(
    r"(?!the\b)((Siege|Battle|Diocese|Margraviate|Botanical Garden|Consulate|Embassy|Duchy|Treaty|"
    r"Arrondissement|Representative|University|Kingdom|Republic|Province|County|Bishop)\b.* of |"
    r"University of |Margraviate of |Diocese of |Siege of |Battle of |Representative of |"
    r"Arrondissement of |Consulate General|\d+(st|nd|rd|th) |.* Act of \d{4}$|"
    r".* (Party|Union|District|Emperor|Organi[sz]ation|Association|Confederation|Empire|Range|"
    r"Church of .+)$)"
)
_RIVER = re.compile(r"(?!the\b)(.+ River|River \w+|.+ (Lakes|Mountains|Islands|Alps))$", re.I)
_VOWEL = re.compile(r"(?!uni(?!n|m)|eu|one\b|u\.?[ks]|use)[aeiou]", re.I)


def is_demonym(value: str) -> bool:
    """Whether a country is given as an adjective: `American`, `Sri Lankan`, `Anglo-Irish`."""
    last = re.split(r"[\s–-]", value.strip().lower())[-1]
    if last in _DEMONYMS:
        return True
    if last.endswith(("ish", "ese")):
        return True
    return last.endswith("an") and not last.endswith("stan") and last not in _NO_DEMONYMS


def with_article(name: str) -> str:
    """A country or place with the article that it needs: `the United States`."""
    if re.match(r"the\b", name, re.I):
        return lower_article(name)
    return f"the {name}" if _THE_COUNTRY.match(name) else name


def river(name: str) -> str:
    """Rivers and ranges take an article everywhere: `the Bubye River`."""
    return f"the {name}" if _RIVER.match(name) else name


def definite(name: str) -> str:
    """A name with its article, if it needs one: `the Siege of Cassel`, `the Soviet Union`."""
    return f"the {name}" if _DEFINITE.match(name) else river(with_article(name))


def lower_article(name: str) -> str:
    """`The Finnish markka` inside a sentence: `the Finnish markka`."""
    return re.sub(r"^(The|A|An)\s", lambda found: found.group(0).lower(), name)


def a_or_an(noun: str) -> str:
    """A common noun with its indefinite article; plurals and determined ones as is."""
    head = noun.split(" of ")[0]
    if re.match(r"(the|an?|one|some|his|her|its|their)\b|\d", noun, re.I):
        return lower_article(noun)
    if head.endswith("s") and not head.endswith(("ss", "us", "is")):
        return noun
    return f"{'an' if _VOWEL.match(noun) else 'a'} {noun}"


def when(date: str) -> str:
    """A date or time with its preposition: `on 4 May 1901`, `in 1901`, `at 3 a.m.`."""
    date = date.strip()
    if _LOOSE_DATE.match(date) or re.match(r"(under|during|at|since|until|till)\b", date, re.I):
        return date
    if _CLOCK.search(date):
        return f"at {date}"
    return f"{'on' if _DAY.search(date) else 'in'} {date}"


_PREPOSITION = re.compile(
    r"(\w+ly )?(in|on|at|near|under|over|off|along|around|from|to|by|between|within|outside|"
    r"inside|across|through|throughout|next|behind|above|below|beneath|north|south|east|west)"
    r"\b(?! \w+ern)",
    re.I,
)


def where(place: str) -> str:
    """A place with its preposition: `in London`, `at the University of Vienna`, `near Salem`."""
    place = place.strip()
    if _PREPOSITION.match(place) and place[0].islower():
        return place
    if re.search(r"\b(University|School|College|Institute|Academy|Airport|Station)\b", place):
        return f"at {definite(place)}"
    if re.match(r"\d+(st|nd|rd|th)\b", place):
        return f"at the {place}"
    return f"in {definite(place)}"


def possessive(name: str) -> str:
    """`Trajan's`; a name in s too: `Moses's`."""
    return f"{name}'" if name.endswith("s'") else f"{name}'s"


def bare(answer: str) -> str:
    """An answer as a name, without the preposition some carry: `in London` → `London`."""
    cut = re.sub(r"^(in|under|at|on|near|by|from)\s+(?=\S)", "", answer.strip())
    return cut.strip().strip('"“”').rstrip(".") if cut != answer.strip() else cut


def quoted(name: str) -> str:
    """A name that ends or breaks off with ! or ? in quotation marks, or it reads as a sentence."""
    return f'"{name}"' if re.search(r"[!?](\s|$)", name) and '"' not in name else name


def balanced(text: str) -> bool:
    """Whether brackets and quotation marks come in pairs."""
    return text.count("(") == text.count(")") and text.count('"') % 2 == 0


def capitalised(text: str) -> str:
    """A sentence's first letter in upper case; names such as `iPod` stay."""
    first = text.split(" ", 1)[0]
    if first[1:] != first[1:].lower():
        return text
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """`text` as one sentence: a capital, single spaces, and one closing mark."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"(?<=\w) - (?=[a-z0-9])", "-", text)
    text = re.sub(r"\b(the|a|an|in|of) (?=\1 )", "", text, flags=re.I)
    text = re.sub(r"\s+([,;:.?!]|'s\b)", r"\1", text)
    text = capitalised(text)
    closed = re.search(r"[.?!…][\"”')]*$", text)
    return text if closed else f"{text}."
