"""A small corpus and an index of it; what remains open is closed."""

import pytest

from steper.records import Passage
from steper.retrieve import BM25Index


@pytest.fixture
def passages():
    rows = [
        ("Polly Oram", "Polly Oram directed the film Nightfall in 1951. She was born in Dover."),
        ("Nightfall", "Nightfall is a 1951 film. The film's music is by Ivo Bell."),
        ("Dover", "Dover is a town and a port in Kent."),
        ("Ivo Bell", "Ivo Bell (1901–1970) was a composer; he was born in Leeds."),
        ("Leeds", "Leeds is a city in Yorkshire."),
        ("", "A passage that has no title speaks of a composer, too."),
    ]
    return [
        Passage(id=f"p{number}", title=title, text=text)
        for number, (title, text) in enumerate(rows)
    ]


@pytest.fixture
def build():
    """`BM25Index.build`, closing at the end of the test."""
    made = []

    def make(*args, **kwargs):
        made.append(BM25Index.build(*args, **kwargs))
        return made[-1]

    yield make
    for index in made:
        index.close()


@pytest.fixture
def saved(build, passages, tmp_path):
    """The folder of an index of the small corpus."""
    folder = tmp_path / "index"
    build(passages).save(folder)
    return folder
