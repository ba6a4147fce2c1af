import pytest

from steper.gold.relations import relations
from steper.gold.triples import triple_question, triple_statement


@pytest.mark.parametrize(
    ("triple", "told"),
    [
        (("Get Low", "performer", "Dillon Francis"), "The performer of Get Low is Dillon Francis."),
        (("Ann", "date of birth", "5 May 1901"), "Ann was born on 5 May 1901."),
        (("Ann", "date of death", "1901"), "Ann died in 1901."),
        (("Ann", "country of citizenship", "American"), "Ann is American."),
        (("Ann", "country of citizenship", "India"), "Ann is a citizen of India."),
        (("Ann", "country of citizenship", "U.S."), "Ann is a citizen of the U.S."),
        (("Oso", "country", "Iran"), "Oso is in Iran."),
        (("Bubye River", "country", "Zimbabwe"), "The Bubye River is in Zimbabwe."),
        (("Lahoriye", "country of origin", "India"), "Lahoriye is from India."),
        (("Ann", "cause of death", "heart attack"), "Ann died of a heart attack."),
        (("Ann", "cause of death", "dysentery"), "Ann died of dysentery."),
        (("Ann", "cause of death", "suicide"), "Ann died by suicide."),
        (("Ann", "cause of death", "plane crash"), "Ann died in a plane crash."),
        (("Ann", "educated at", "University of Oso"), "Ann was educated at the University of Oso."),
        (
            ("Ann", "award received", "Nobel Prize"),
            "The award that Ann received is the Nobel Prize.",
        ),
        (("The Gate", "author", "Ann"), "The author of The Gate is Ann."),
        (("Beware! The Blob", "director", "Ann"), 'The director of "Beware! The Blob" is Ann.'),
        (("Siege of Cassel", "location", "Kassel"), "The Siege of Cassel took place in Kassel."),
        (("Oso", "instance of", "town"), "Oso is a town."),
        (("Oso", "instance of", "hotels"), "Oso is one of the hotels."),
        (
            ("Sweden at the 1920 Games", "country", "Belgium"),
            "The 1920 Games were held in Belgium.",
        ),
        (("Ann", "favourite colour", "red"), "The favourite colour of Ann is red."),
    ],
)
def test_statements(triple, told):
    assert triple_statement(*triple) == told


def test_a_group_is_from_a_country():
    assert triple_statement("Alisa", "country", "Soviet Union", "performer") == (
        "Alisa is from the Soviet Union."
    )
    assert triple_question("Alisa", "country", "performer") == "Which country is Alisa from?"


@pytest.mark.parametrize(
    ("subject", "relation", "asked"),
    [
        ("Get Low", "performer", "Who is the performer of Get Low?"),
        ("Ann", "place of death", "Where did Ann die?"),
        ("Ann", "country of citizenship", "What is the nationality of Ann?"),
        ("Badam River", "country", "Which country is the Badam River in?"),
        ("Ann", "favourite colour", "What is the favourite colour of Ann?"),
    ],
)
def test_questions(subject, relation, asked):
    assert triple_question(subject, relation) == asked


@pytest.mark.parametrize("relation", relations().words)
def test_every_relation_is_a_whole_sentence_with_both_names(relation):
    told = triple_statement(
        "Ann Orr", relation, "1901" if relation in relations().dates else "Bo Larn"
    )
    assert "Ann Orr" in told
    assert "1901" in told or "Bo Larn" in told
    assert told[0].isupper()
    assert told.endswith(".")
    assert "{" not in told
    asked = triple_question("Ann Orr", relation)
    assert "Ann Orr" in asked
    assert asked.endswith("?")
