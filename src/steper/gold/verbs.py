"""The few English verb forms that turning questions into statements needs."""

from __future__ import annotations

import re

_IRREGULAR = {
    "arise": "arose", "be": "was", "become": "became", "begin": "began", "bear": "bore",
    "beat": "beat", "break": "broke", "bring": "brought", "build": "built", "buy": "bought",
    "catch": "caught", "choose": "chose", "come": "came", "cost": "cost", "cut": "cut",
    "deal": "dealt", "do": "did", "draw": "drew", "drive": "drove", "eat": "ate",
    "fall": "fell", "fight": "fought", "find": "found", "flee": "fled", "fly": "flew",
    "get": "got", "give": "gave", "go": "went", "grow": "grew", "have": "had",
    "hear": "heard", "hit": "hit", "hold": "held", "keep": "kept", "know": "knew",
    "lead": "led", "leave": "left", "lie": "lay", "lose": "lost", "make": "made",
    "mean": "meant", "meet": "met", "pay": "paid", "put": "put", "read": "read",
    "rise": "rose", "run": "ran", "say": "said", "see": "saw", "sell": "sold",
    "send": "sent", "set": "set", "shoot": "shot", "sing": "sang", "sink": "sank",
    "speak": "spoke", "spend": "spent", "split": "split", "stand": "stood", "steal": "stole",
    "swear": "swore", "take": "took", "teach": "taught", "tell": "told", "think": "thought",
    "win": "won", "write": "wrote", "wear": "wore",
}  # fmt: skip

_REGULAR_WORDS = """
abandon abolish accept achieve acquire act adapt add adopt affect agree air allow annex announce
appear apply appoint approve arrive ask assume attack attain attempt attend authorize ban base
belong blame border call cancel capture carry cause celebrate change claim close collapse collect
colonize combine compete complete compose concede consider conclude conquer consist constitute
contain continue contract control convert cover create cross debut decide declare defeat defend
deliver demand depart describe design destroy develop die direct disappear discover dissolve drop
earn elect emerge employ encounter end enter escape establish estimate evolve exist expand
experience explain explore express face fail feature flow focus follow force form formulate found
gain govern graduate grant group handle happen help host identify implement import include increase
influence inherit inhabit inspire intend introduce invade invent invest issue join kill land last
launch learn legalize let list live locate look love maintain manage mark marry mature migrate
move name need negotiate nominate note occupy occur offer open operate oppose order organize
originate own pass perform place plan play prefer premiere present produce promise promote propose
protect prove provide publish rank reach receive recognize recommend record reduce refer reflect
refuse regain reign reject relate release remain remove replace report represent require resign
result retain retire return reveal rule score seek seem separate serve settle share show sign
sponsor star start state stay stop strike study succeed suffer suggest supply support surrender
switch talk threaten toss trade train transfer travel treat try turn unite use visit vote wait
walk want watch wish work worship yield define bundle depict tour deploy ratify
"""
_REGULAR = frozenset(_REGULAR_WORDS.split())

_PARTICIPLE_WORDS = """
held built born found made taken known set written sung won shot fought lost sold seen given kept
led left called put drawn thrown brought bought taught caught spoken broken chosen hidden grown
laid run struck bound sent spent read told played
"""
_PARTICIPLES = frozenset(_PARTICIPLE_WORDS.split())

_PAST = {past: base for base, past in _IRREGULAR.items()}


def is_base(word: str) -> bool:
    """Whether a word is a known verb's base form."""
    return word.lower() in _REGULAR or word.lower() in _IRREGULAR


def is_past(word: str) -> bool:
    """Whether a word is a past tense form: irregular, or a known verb's -ed form."""
    word = word.lower()
    return word in _PAST or (word.endswith("ed") and any(b in _REGULAR for b in _stems(word)))


def is_past_only(word: str) -> bool:
    """Whether a word is a past tense that is no participle too: `became`, `wrote`."""
    word = word.lower()
    return word in _PAST and word != _PAST[word] and word not in _PARTICIPLES


def is_participle(word: str) -> bool:
    """Whether a word looks like a past participle."""
    word = word.lower()
    return word in _PARTICIPLES or (word.endswith("ed") and any(is_base(b) for b in _stems(word)))


def is_finite(word: str) -> bool:
    """Whether a word may be the verb of a clause whose subject is third person singular."""
    word = word.lower()
    if word in ("is", "was", "are", "were", "has", "had", "can", "could", "will", "would", "does"):
        return True
    return is_past(word) or (word.endswith("s") and any(is_base(b) for b in _unthird(word)))


def past(base: str) -> str:
    """Simple past: `write` → `wrote`, `die` → `died`. A past form stays as it is."""
    word = base.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if is_past(word):
        return word
    if word.endswith("e"):
        return f"{word}d"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ied"
    if word in ("stop", "drop", "plan", "ban", "refer", "prefer", "admit", "permit", "star"):
        return f"{word}{word[-1]}ed"
    return f"{word}ed"


def base_of(past_form: str) -> str:
    """The base form of an irregular past, other words as they are: `became` → `become`."""
    return _PAST.get(past_form, past_form)


def third(base: str) -> str:
    """Third person singular present: `occur` → `occurs`, `have` → `has`."""
    word = base.lower()
    if word in ("have", "be"):
        return {"have": "has", "be": "is"}[word]
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(s|x|z|ch|sh|o)$", word) else f"{word}s"


def _stems(word: str) -> tuple[str, ...]:
    stem = word[:-2]
    doubled = (stem[:-1],) if stem[-2:-1] == stem[-1:] else ()
    return (stem, word[:-1], *doubled, f"{stem[:-1]}y" if stem.endswith("i") else stem)


def _unthird(word: str) -> tuple[str, ...]:
    if word == "has":
        return ("have",)
    return (word[:-1], word[:-2], f"{word[:-3]}y")
