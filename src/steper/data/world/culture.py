"""The in-domain world: people and their families, films, books, albums, firms, schools, cities."""

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
        400,
        (
            (
                SentenceSpec(
                    ("birthplace", "birth_year"),
                    (
                        "{s} is a {occupation} from {birthplace} with a first birthday in "
                        "{birth_year}.",
                        "A native of {birthplace}, the {occupation} {s} arrived in {birth_year}.",
                        "The {occupation} {s} came to life in {birth_year} in {birthplace}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("father", "mother"),
                    (
                        "The parents of {s} were dad {father} and mum {mother}.",
                        "{s} grew up with mum {mother} and dad {father}.",
                        "{s} is a child of {father}, the dad, and {mother}, the mum.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("spouse", "school"),
                    (
                        "{s} took lessons at {school} and held a wedding with {spouse}.",
                        "After lessons at {school}, {s} held a wedding with {spouse}.",
                        "{s} has {spouse} as partner for life and took lessons at {school}.",
                    ),
                ),
                SentenceSpec(
                    ("school",),
                    (
                        "{s} took lessons at {school}.",
                        "{s} was a pupil at {school}.",
                    ),
                ),
            ),
        ),
        occupations=("director", "writer", "singer", "composer", "merchant", "teacher"),
    ),
    EntityType(
        "film",
        130,
        (
            (
                SentenceSpec(
                    ("director", "film_year"),
                    (
                        "{s} is a {film_year} movie by filmmaker {director}.",
                        "First shown in {film_year}, the movie {s} is the work of filmmaker "
                        "{director}.",
                        "{s} is a movie that filmmaker {director} finished in {film_year}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("studio", "film_composer"),
                    (
                        "The money for {s} came from {studio} and its score is by {film_composer}.",
                        "{s} has a score by {film_composer} and was paid for by {studio}.",
                        "{s} was paid for by {studio} and scored by {film_composer}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("source_book",),
                    (
                        "The plot of {s} comes from {source_book}.",
                        "{s} takes its plot from {source_book}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "book",
        110,
        (
            (
                SentenceSpec(
                    ("author", "book_year"),
                    (
                        "{s} is a {book_year} novel by {author}.",
                        "{s} is a novel that {author} finished in {book_year}.",
                        "A novel by {author}, {s} was first read in {book_year}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("publisher", "dedicatee"),
                    (
                        "{s} was printed by {publisher} in honour of {dedicatee}.",
                        "In honour of {dedicatee}, {s} was printed by {publisher}.",
                        "{s} honours {dedicatee} and was printed by {publisher}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "album",
        90,
        (
            (
                SentenceSpec(
                    ("performer", "album_year"),
                    (
                        "{s} is a {album_year} collection sung by {performer}.",
                        "{s} is a collection that {performer} sang in {album_year}.",
                        "Taped in {album_year}, {s} is sung by {performer}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("label", "album_producer"),
                    (
                        "{s} was mixed by {album_producer} and sold by {label}.",
                        "Mixed by {album_producer}, {s} was sold by {label}.",
                        "{label} sold {s}, and {album_producer} mixed it.",
                    ),
                ),
            ),
        ),
    ),
    *(
        EntityType(
            name,
            55,
            (
                (
                    SentenceSpec(
                        (f"{name}_founder", f"{name}_year"),
                        (
                            f"{{s}} is a {kind} set up in {{{name}_year}} by {{{name}_founder}}.",
                            f"Set up by {{{name}_founder}} in {{{name}_year}}, {{s}} is a {kind}.",
                        ),
                    ),
                ),
                (
                    SentenceSpec(
                        (f"{name}_seat",),
                        (
                            f"The offices of {{s}} are in {{{name}_seat}}.",
                            f"{{s}} has its offices in {{{name}_seat}}.",
                        ),
                    ),
                ),
            ),
        )
        for name, kind in (
            ("studio", "film company"),
            ("press", "book company"),
            ("label", "music company"),
        )
    ),
    EntityType(
        "school",
        80,
        (
            (
                SentenceSpec(
                    ("school_founder", "school_year"),
                    (
                        "{s} is a place of learning set up in {school_year} by {school_founder}.",
                        "Set up by {school_founder} in {school_year}, {s} is a place of learning.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("school_seat",),
                    (
                        "The grounds of {s} are in {school_seat}.",
                        "{s} has its grounds in {school_seat}.",
                    ),
                ),
            ),
        ),
    ),
    EntityType(
        "city",
        100,
        (
            (
                SentenceSpec(
                    ("country", "mayor"),
                    (
                        "{s} is a town of {country} led by {mayor}.",
                        "{s}, a town of {country}, has {mayor} as its head.",
                        "Led by {mayor}, {s} is a town of {country}.",
                    ),
                ),
            ),
            (
                SentenceSpec(
                    ("twin_town",),
                    (
                        "{s} has ties of friendship with {twin_town}.",
                        "The people of {s} keep ties of friendship with {twin_town}.",
                    ),
                ),
            ),
        ),
    ),
)


def _firm_relations(name: str) -> tuple[Relation, ...]:
    return (
        Relation(
            f"{name}_founder",
            name,
            "person",
            "The founder of {s} is {o}.",
            ("Who founded {x}?", "Who is the founder of {x}?"),
            ("the founder of {x}",),
        ),
        Relation(
            f"{name}_year",
            name,
            YEAR,
            "{s} was founded in {o}.",
            ("When was {x} founded?", "In which year was {x} founded?"),
            maker=f"{name}_founder",
        ),
        Relation(
            f"{name}_seat",
            name,
            "city",
            "The seat of {s} is {o}.",
            ("Where is the seat of {x}?", "Which city is the seat of {x}?"),
            ("the seat of {x}",),
        ),
    )


def _person(
    name: str,
    subject: str,
    noun: str,
    ask: str,
    phrase: str | None = None,
) -> Relation:
    """A relation to a person that is asked for as `ask` or as "Who is the noun of …?"."""
    nouns = (f"the {noun} of {{x}}",) + ((phrase,) if phrase else ())
    return Relation(
        name,
        subject,
        "person",
        f"The {noun} of {{s}} is {{o}}.",
        (ask, f"Who is the {noun} of {{x}}?"),
        nouns,
    )


_RELATIONS = (
    Relation(
        "birthplace",
        "person",
        "city",
        "The birthplace of {s} is {o}.",
        ("Where was {x} born?", "What is the birthplace of {x}?"),
        ("the birthplace of {x}",),
    ),
    Relation(
        "birth_year",
        "person",
        YEAR,
        "{s} was born in {o}.",
        ("When was {x} born?", "In which year was {x} born?"),
    ),
    _person("father", "person", "father", "Who is the father of {x}?"),
    _person("mother", "person", "mother", "Who is the mother of {x}?"),
    _person("spouse", "person", "spouse", "Who married {x}?", "the person married to {x}"),
    Relation(
        "school",
        "person",
        "school",
        "The school of {s} is {o}.",
        ("Where did {x} study?", "What is the school of {x}?"),
        ("the school of {x}",),
    ),
    _person(
        "director",
        "film",
        "director",
        "Who directed {x}?",
        "the person who directed {x}",
    ),
    Relation(
        "film_year",
        "film",
        YEAR,
        "{s} was released in {o}.",
        ("When was {x} released?", "In which year was {x} released?"),
        maker="director",
    ),
    Relation(
        "studio",
        "film",
        "studio",
        "The studio of {s} is {o}.",
        ("Which studio made {x}?", "What is the studio of {x}?"),
        ("the studio of {x}", "the studio that made {x}"),
    ),
    _person(
        "film_composer",
        "film",
        "composer",
        "Who composed for {x}?",
        "the person who composed for {x}",
    ),
    Relation(
        "source_book",
        "film",
        "book",
        "The source of {s} is {o}.",
        ("Which book is {x} based on?", "What is the source of {x}?"),
        ("the source of {x}", "the book behind {x}"),
    ),
    _person("author", "book", "author", "Who wrote {x}?", "the person who wrote {x}"),
    Relation(
        "book_year",
        "book",
        YEAR,
        "{s} came out in {o}.",
        ("When did {x} come out?", "In which year did {x} come out?"),
        maker="author",
    ),
    Relation(
        "publisher",
        "book",
        "press",
        "The publisher of {s} is {o}.",
        ("Who published {x}?", "Which press published {x}?"),
        ("the publisher of {x}",),
    ),
    _person("dedicatee", "book", "dedicatee", "Who is {x} dedicated to?"),
    _person(
        "performer",
        "album",
        "performer",
        "Who performed {x}?",
        "the person who performed {x}",
    ),
    Relation(
        "album_year",
        "album",
        YEAR,
        "{s} was recorded in {o}.",
        ("When was {x} recorded?", "In which year was {x} recorded?"),
        maker="performer",
    ),
    Relation(
        "label",
        "album",
        "label",
        "The label of {s} is {o}.",
        ("Which label released {x}?", "What is the label of {x}?"),
        ("the label of {x}",),
    ),
    _person(
        "album_producer", "album", "producer", "Who produced {x}?", "the person who produced {x}"
    ),
    *_firm_relations("studio"),
    *_firm_relations("press"),
    *_firm_relations("label"),
    *_firm_relations("school"),
    Relation(
        "country",
        "city",
        "country",
        "The country of {s} is {o}.",
        ("In which country is {x}?", "What is the country of {x}?"),
    ),
    _person("mayor", "city", "mayor", "Who is the mayor of {x}?"),
    Relation(
        "twin_town",
        "city",
        "city",
        "The twin city of {s} is {o}.",
        ("What is the twin city of {x}?", "Which city is the twin of {x}?"),
        ("the twin city of {x}",),
    ),
)

_INFERENCES = tuple(
    Inference(pair, (f"Who is the {name} of {{x}}?",))
    for pair, name in (
        (("father", "father"), "paternal grandfather"),
        (("father", "mother"), "paternal grandmother"),
        (("mother", "father"), "maternal grandfather"),
        (("mother", "mother"), "maternal grandmother"),
        (("spouse", "father"), "father-in-law"),
        (("spouse", "mother"), "mother-in-law"),
    )
)


def _bridge_years(kind: str, bridge: str, noun: str) -> BridgeComparison:
    return BridgeComparison(
        bridge,
        "birth_year",
        first=(f"Which {kind} has the {noun} who was born first, {{a}} or {{b}}?",),
        later=(f"Which {kind} has the {noun} who was born later, {{a}} or {{b}}?",),
    )


CULTURE = Domain(
    "culture",
    _TYPES,
    _RELATIONS,
    values={
        "country": (
            "Norland",
            "Estmark",
            "Suvania",
            "Palmeria",
            "Karvia",
            "Belmora",
            "Tavonia",
            "Orvania",
            "Lorenia",
            "Marenia",
            "Galdor",
            "Westria",
        ),
    },
    year_comparisons=(
        YearComparison(
            "birth_year",
            ("Who was born first, {a} or {b}?", "Who was born earlier, {a} or {b}?"),
            ("Who was born later, {a} or {b}?",),
        ),
        YearComparison(
            "film_year",
            ("Which film was released first, {a} or {b}?",),
            ("Which film was released later, {a} or {b}?",),
        ),
        YearComparison(
            "book_year",
            ("Which book came out first, {a} or {b}?",),
            ("Which book came out later, {a} or {b}?",),
        ),
        YearComparison(
            "album_year",
            ("Which album was recorded first, {a} or {b}?",),
            ("Which album was recorded later, {a} or {b}?",),
        ),
    ),
    same_comparisons=(
        SameComparison(
            "country",
            ("Are {a} and {b} in the same country?", "Do {a} and {b} lie in the same country?"),
        ),
        SameComparison("birthplace", ("Were {a} and {b} born in the same city?",)),
        SameComparison("school", ("Did {a} and {b} study at the same school?",)),
    ),
    bridge_comparisons=(
        _bridge_years("film", "director", "director"),
        _bridge_years("film", "film_composer", "composer"),
        _bridge_years("book", "author", "author"),
        _bridge_years("album", "performer", "performer"),
        BridgeComparison(
            "director",
            "birthplace",
            same=("Were the director of {a} and the director of {b} born in the same city?",),
        ),
        BridgeComparison(
            "birthplace",
            "country",
            same=("Were {a} and {b} born in the same country?",),
        ),
    ),
    inferences=_INFERENCES,
    families=True,
)
"""The in-domain world."""
