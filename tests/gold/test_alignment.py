from steper.gold.alignment import align_triples, fold_to_words, without_qualifier
from steper.records import Passage


def titles(triples, *facts):
    found = align_triples(triples, [Passage.make(*fact) for fact in facts])
    return [p.title if p else None for p in found]


def test_names_are_compared_without_case_accents_and_qualifiers():
    assert fold_to_words("Émile  Chautard!") == "emile chautard"
    assert without_qualifier("Petra (film)") == "Petra"
    assert without_qualifier("(film)") == "(film)"


def test_titles_decide_before_positions():
    triples = [("Get Low", "performer", "Ann"), ("Ann", "date of birth", "1901")]
    facts = [("Ann", "Born 1901."), ("Get Low (Ann song)", "A song by Ann.")]
    assert titles(triples, *facts) == ["Get Low (Ann song)", "Ann"]


def test_positions_decide_between_names_that_differ():
    triples = [("Gertrude F", "sibling", "Max"), ("Abuso", "director", "Bo")]
    facts = [("Lady Elliott", "Sister of Max."), ("Shadows", "A film by Bo.")]
    assert titles(triples, *facts) == ["Lady Elliott", "Shadows"]


def test_a_triple_that_fits_nothing_has_no_passage():
    triples = [("A", "r", "b"), ("Zz", "director", "Bo")]
    assert titles(triples, ("A", "b")) == ["A", None]
