"""The out-of-domain world: explorers, ships, islands, mountains, paintings, museums.

People's names are those of the in-domain world, what is told of them is not.
"""

from __future__ import annotations

from steper.data.world.schema import (
    YEAR,
    BridgeComparison,
    Domain,
    EntityType,
    Inference,
    Relation,
    SameComparison,
    SentenceSpec,
    YearComparison,
)

_TYPES = (
    EntityType(
        "person",
        260,
        (
            (
                SentenceSpec(
                    ("ship", "death_year"),
                    (
                        "{s} was a {occupation} who travelled on {ship} and lived until "
                        "{death_year}.",
                        "The {occupation} {s} travelled on {ship} and lived until {death_year}.",
                        "{s}, a {occupation}, lived until {death_year} and travelled on {ship}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("tutor", "burial_island"),
                    (
                        "{s} learned from {tutor} and lies at rest on {burial_island}.",
                        "At rest on {burial_island}, {s} had learned from {tutor}.",
                    ),
                ),
                SentenceSpec(
                    ("burial_island",),
                    ("{s} lies at rest on {burial_island}.",),
                ),
            ),
        ),
        occupations=("sailor", "draughtsman", "guide", "scholar"),
    ),
    EntityType(
        "ship",
        60,
        (
            (
                SentenceSpec(
                    ("captain", "launch_year"),
                    (
                        "{s} is a vessel that put to sea in {launch_year} under {captain}.",
                        "Under {captain}, the vessel {s} put to sea in {launch_year}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("shipyard", "home_port"),
                    (
                        "{s} was the work of {shipyard} and returns each winter to {home_port}.",
                        "{s} returns each winter to {home_port} and was the work of {shipyard}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "shipyard",
        30,
        (
            (
                SentenceSpec(
                    ("yard_owner", "yard_island"),
                    (
                        "{s} is a dock at {yard_island} that belongs to {yard_owner}.",
                        "{s} belongs to {yard_owner} and stands at {yard_island}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "island",
        60,
        (
            (
                SentenceSpec(
                    ("sea", "governor"),
                    (
                        "{s} is a land of the {sea} waters ruled by {governor}.",
                        "Ruled by {governor}, {s} is a land of the {sea} waters.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("highest_peak",),
                    (
                        "The top of {s} is {highest_peak}.",
                        "{s} rises to its top at {highest_peak}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "mountain",
        50,
        (
            (
                SentenceSpec(
                    ("first_climber", "climb_year"),
                    (
                        "{s} is a summit that {first_climber} reached in {climb_year}.",
                        "The summit of {s} was reached in {climb_year} by {first_climber}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "painting",
        50,
        (
            (
                SentenceSpec(
                    ("painter", "paint_year"),
                    (
                        "{s} is a canvas made in {paint_year} by {painter}.",
                        "Made by {painter} in {paint_year}, {s} is a canvas.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("museum", "sitter"),
                    (
                        "{s} portrays {sitter} and is kept at {museum}.",
                        "{s} is kept at {museum} and portrays {sitter}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "museum",
        30,
        (
            (
                SentenceSpec(
                    ("curator", "museum_island"),
                    (
                        "{s} is a gallery at {museum_island} in the care of {curator}.",
                        "In the care of {curator}, {s} is a gallery at {museum_island}.",
                    ),
                ),
            ),
        ),
    ),
)


def _relation(
    name: str, subject: str, target: str, noun: str, ask: str, **more: str | bool | None
) -> Relation:
    who = "Who" if target == "person" else "What"
    occupation = more.get("occupation")
    return Relation(
        name,
        subject,
        target,
        f"The {noun} of {{s}} is {{o}}.",
        (ask, f"{who} is the {noun} of {{x}}?"),
        (f"the {noun} of {{x}}",),
        occupation=occupation if isinstance(occupation, str) else None,
        elder=bool(more.get("elder")),
    )


def _year(name: str, subject: str, verb: str, base: str) -> Relation:
    return Relation(
        name,
        subject,
        YEAR,
        f"{{s}} {verb} in {{o}}.",
        (f"When {base}?", f"In which year {base}?"),
    )


_RELATIONS = (
    _relation("ship", "person", "ship", "ship", "Which ship did {x} sail on?"),
    _year("death_year", "person", "died", "did {x} die"),
    _relation("tutor", "person", "person", "tutor", "Who taught {x}?", elder=True),
    _relation("burial_island", "person", "island", "burial island", "Where is {x} buried?"),
    _relation("captain", "ship", "person", "captain", "Who commanded {x}?", occupation="sailor"),
    _year("launch_year", "ship", "was launched", "was {x} launched"),
    _relation("shipyard", "ship", "shipyard", "yard", "Where was {x} built?"),
    _relation("home_port", "ship", "island", "home port", "Which island is the home port of {x}?"),
    _relation("yard_owner", "shipyard", "person", "owner", "Who owns {x}?"),
    _relation("yard_island", "shipyard", "island", "island", "On which island is {x}?"),
    Relation(
        "sea",
        "island",
        "sea",
        "The sea of {s} is {o}.",
        ("In which sea is {x}?", "Which sea surrounds {x}?"),
    ),
    _relation("governor", "island", "person", "governor", "Who governs {x}?"),
    _relation(
        "highest_peak", "island", "mountain", "highest peak", "Which peak is the highest of {x}?"
    ),
    _relation(
        "first_climber",
        "mountain",
        "person",
        "first climber",
        "Who first climbed {x}?",
        occupation="guide",
    ),
    _year("climb_year", "mountain", "was first climbed", "was {x} first climbed"),
    _relation(
        "painter", "painting", "person", "painter", "Who painted {x}?", occupation="draughtsman"
    ),
    _year("paint_year", "painting", "was painted", "was {x} painted"),
    _relation("museum", "painting", "museum", "museum", "Where does {x} hang?"),
    _relation("sitter", "painting", "person", "sitter", "Who is shown in {x}?"),
    _relation(
        "curator", "museum", "person", "curator", "Who looks after {x}?", occupation="scholar"
    ),
    _relation("museum_island", "museum", "island", "island", "On which island is {x}?"),
)


def _bridge_years(kind: str, bridge: str, noun: str) -> BridgeComparison:
    return BridgeComparison(
        bridge,
        "death_year",
        first=(f"Which {kind} has the {noun} who died first, {{a}} or {{b}}?",),
        later=(f"Which {kind} has the {noun} who died later, {{a}} or {{b}}?",),
    )


VOYAGES = Domain(
    "voyages",
    _TYPES,
    _RELATIONS,
    values={"sea": ("Amaric", "Borean", "Cerulean", "Dorian", "Hesper", "Ivory", "Jade", "Opal")},
    year_comparisons=(
        YearComparison(
            "death_year",
            ("Who died first, {a} or {b}?",),
            ("Who died later, {a} or {b}?",),
        ),
        YearComparison(
            "launch_year",
            ("Which ship was launched first, {a} or {b}?",),
            ("Which ship was launched later, {a} or {b}?",),
        ),
    ),
    same_comparisons=(
        SameComparison("sea", ("Are {a} and {b} in the same sea?",)),
        SameComparison("burial_island", ("Are {a} and {b} buried on the same island?",)),
    ),
    bridge_comparisons=(
        _bridge_years("ship", "captain", "captain"),
        _bridge_years("painting", "painter", "painter"),
        _bridge_years("mountain", "first_climber", "first climber"),
        BridgeComparison(
            "home_port",
            "sea",
            same=("Are the home port of {a} and the home port of {b} in the same sea?",),
        ),
    ),
    inferences=(Inference(("tutor", "tutor"), ("Who is the academic grandfather of {x}?",)),),
)
"""The out-of-domain world."""
