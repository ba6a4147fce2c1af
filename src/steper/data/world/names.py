"""The names of the small worlds: one fixed inventory, the same in every world.

Names share words on purpose ("Mary Vale", "Vale Press", "Port Vale"), so that a lexical
retriever meets distractors, and each name lies for good in one part (train, dev or test): a
student distilled on train questions has never been taught with a name of the test questions.
The small models' tokenizer has one token for each whole name.
"""

from __future__ import annotations

import random
from functools import cache

from steper.data.world.schema import Domain

PARTS = {"train": 0.6, "dev": 0.12, "test": 0.28}
"""The parts of the inventory and their share of the names of each type."""

_INVENTORY_SEED = 20260101

FEMALE = (  # noqa: SIM905
    "Amelia Audrey Beatrice Carol Daphne Elsa Esther Fiona Gloria Harriet Helen Ingrid Joan "
    "Judith Karen Louise Mabel Miriam Nina Paula Rachel Sonia Tessa Ursula Violet Ada Agnes "
    "Alma Anna Bella Celia Clara Cora Dora Edith Ella Emma Flora Grace Greta Hilda Ida "
    "Irene Iris Jane Julia Laura Lena Lucy Mary Nora Olive Rosa Ruth Sarah Sybil Vera Wanda "
    "Zelda"
).split()
MALE = (  # noqa: SIM905
    "Andrew Barnaby Basil Caleb Conrad Duncan Edwin Elias Fergus Gilbert Graham Herbert "
    "Isaac Jasper Joseph Kenneth Laurence Magnus Neville Oliver Patrick Ralph Samuel "
    "Stephen Vincent Aaron Abel Adam Albert Alfred Arthur Bruno Carl Cyril David Dennis "
    "Edgar Ernest Felix Frank George Harold Henry Hugo Ivan Jacob John Leo Lewis Martin "
    "Oscar Owen Paul Peter Simon Thomas Victor Walter"
).split()
SURNAMES = (  # noqa: SIM905
    "Abbott Alder Ashby Baird Barlow Barton Beck Birch Blythe Boyd Brandt Briggs Calder "
    "Carver Chase Cole Conway Crane Croft Dale Dalton Denham Drake Dunn Ellery Elton "
    "Fairfax Farrow Finch Fisk Flint Frost Galt Garner Gibbs Greer Hale Harper Hayes Holt "
    "Hurst Ingram Jarvis Keller Kerr Lacey Langley Lark Leland Locke Lowell Marsh Mercer "
    "Mills Moss Nash Norris Oakley Orr Page Parrish Pierce Pruitt Quill Quinn Ramsey Reed "
    "Rhodes Rowe Sawyer Selby Sharp Sloan Stone Sutton Tate Thorne Todd Tyler Upton Vale "
    "Vance Vaughn Wade Ward Webb Wells Wilder Wren Wyatt Yates York Aldous Barrow Bellamy "
    "Brewer Burton Clifton Colby Dawson Dexter Easton Emery Fenton Forbes Gilmore Gordon "
    "Graves Hadley Hawkins Hobbs Hudson Jessup Kendall Kirby Lambert Lawson Lister Maddox "
    "Merrill Newell Osborn Perkins Porter Radley Rigby Rollins Russell Savage Stanton "
    "Talbot Tilden Turner Wallis Warner Weston Whitby Winslow Woodward"
).split()
ADJECTIVES = (  # noqa: SIM905
    "Amber Ancient Autumn Bitter Black Blue Brave Bright Broken Burning Calm Clear Copper "
    "Crimson Crooked Dancing Dark Distant Early Eastern Empty Endless Fading Faithful "
    "Falling Final Foggy Foreign Frozen Gentle Golden Green Grey Hidden Hollow Humble Iron "
    "Last Lonely Long Lost Marble Narrow Noble Northern Pale Painted Purple Quiet Rapid Red "
    "Restless Royal Rusty Sacred Scarlet Secret Silent Silver Simple Sleeping Slow Southern "
    "Velvet Western White Wild Wooden"
).split()
NOUNS = (  # noqa: SIM905
    "Anchor Arrow Bell Bridge Candle Canyon Castle Chapel Clock Cloud Coast Comet Cottage "
    "Crown Desert Door Eagle Falcon Feather Field Flame Flute Forest Fountain Garden Gate "
    "Guest Harbor Harvest Hill House Journey Kingdom Ladder Lamp Lantern Letter Mask Meadow "
    "Mirror Moon Morning Mountain Needle Orchard Palace Pearl Pilgrim Rain River Road Rose "
    "Shadow Shepherd Shore Snow Spring Star Stranger Storm Summer Tower Train Valley Voice "
    "Wagon Wheel Window Winter Witness"
).split()

_PATTERNS: dict[str, tuple[str, ...]] = {
    "film": ("The {a} {n}",),
    "book": ("{r} and the {n}", "The {n} of {r}"),
    "album": ("{a} {n} Songs", "{r} {n} Songs"),
    "studio": ("{r} {q} Pictures", "{a} {r} Pictures"),
    "press": ("{r} {q} Press", "{a} {r} Press"),
    "label": ("{r} {q} Records", "{a} {r} Records"),
    "school": ("{r} {q} College", "{a} {r} College"),
    "city": ("{r}ford {n}", "{r}bury {n}", "{a} {r}wick", "{a} {r}haven"),
    "ship": ("HMS {a} {n}", "HMS {r} {n}"),
    "island": ("{a} {r}sey", "{r}holm {n}"),
    "museum": ("{r} {q} Museum", "{a} {r} Museum"),
    "painting": ("{n} at {r}", "{a} {r}"),
    "mountain": ("{a} {r}horn", "{r}stone {n}"),
    "shipyard": ("{r} {q} Shipyard", "{a} {r} Shipyard"),
}


@cache
def person_names() -> tuple[str, ...]:
    """All names of people, women and men alternating, in a fixed order."""
    rng = random.Random(_INVENTORY_SEED)
    women = [f"{first} {last}" for first in FEMALE for last in SURNAMES]
    men = [f"{first} {last}" for first in MALE for last in SURNAMES]
    rng.shuffle(women)
    rng.shuffle(men)
    return tuple(name for pair in zip(women, men, strict=False) for name in pair)


def is_woman(name: str) -> bool:
    """Whether a person's first name is a woman's."""
    return name.split()[0] in set(FEMALE)


@cache
def names_of(type_name: str, count: int) -> tuple[str, ...]:
    """The first `count` names of a type, in a fixed order; the same for every world."""
    if type_name == "person":
        return person_names()[:count]
    rng = random.Random(f"{_INVENTORY_SEED}/{type_name}")
    seen: dict[str, None] = {}
    patterns = _PATTERNS[type_name]
    for attempt in range(count * 1000):
        if len(seen) == count:
            return tuple(seen)
        pattern = patterns[attempt % len(patterns)]
        surname, other = rng.sample(SURNAMES, 2)
        words = {"a": rng.choice(ADJECTIVES), "n": rng.choice(NOUNS), "r": surname, "q": other}
        seen.setdefault(pattern.format(**words))
    raise ValueError(f"the patterns of {type_name!r} give fewer than {count} names")


@cache
def _part_names(type_name: str, count: int) -> dict[str, tuple[str, ...]]:
    names = names_of(type_name, count)
    parts: dict[str, tuple[str, ...]] = {}
    start = 0
    for index, (part, share) in enumerate(PARTS.items()):
        end = count if index == len(PARTS) - 1 else start + round(count * share)
        parts[part] = names[start:end]
        start = end
    return parts


def part_names(domain: Domain, part: str) -> dict[str, tuple[str, ...]]:
    """The names of each type of `domain` that belong to `part`."""
    return {t.name: _part_names(t.name, t.count)[part] for t in domain.types}


def inventory(*domains: Domain) -> tuple[str, ...]:
    """Every entity name of the given domains, once, in a fixed order."""
    names: dict[str, None] = {}
    for domain in domains:
        for entity_type in domain.types:
            names.update(dict.fromkeys(names_of(entity_type.name, entity_type.count)))
    return tuple(names)
