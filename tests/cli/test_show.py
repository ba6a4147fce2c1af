"""`steper show`, on runs of the film questions."""

import pytest

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.cli.main import run
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.records import Passage
from steper.runs import teach
from steper.strategy.ircot import IRCoT


@pytest.fixture
def teach_films(tmp_path):
    """Teach questions into a folder; returns it."""

    def make(questions, script=film_script):
        strategy = IRCoT(None, PromptSettings(demos=0))
        teach(questions, strategy, ScriptedModel(script), DictRetriever(FILM), tmp_path / "r")

    make.folder = str(tmp_path / "r")
    return make


def test_only_the_gold_passage_is_marked_where_titles_repeat(teach_films, capsys):
    gold = (Passage.make("Ann Lee", "Quite another text about another person of that name."),)
    gold += (Passage.make("Gold Rain", FILM["Gold Rain"]),)
    teach_films([film_questions(1)[0].model_copy(update={"gold": gold})])
    assert run(["show", teach_films.folder, "-q", "1"]) == 0
    marked = [line for line in capsys.readouterr().out.splitlines() if "★" in line]
    assert marked
    assert all("Gold Rain is a film" in line for line in marked), marked


def test_the_list_says_what_ends_a_step(teach_films, capsys):
    teach_films(film_questions(2))
    assert run(["show", teach_films.folder]) == 0
    assert "Step end: cut after one sentence" in capsys.readouterr().out


@pytest.mark.parametrize("own", ["²", "0", "-1", ""])
def test_an_odd_id_is_an_unknown_one(teach_films, capsys, own):
    teach_films(film_questions(1))
    assert run(["show", teach_films.folder, f"--question={own}"]) == 2
    assert "unknown question id" in capsys.readouterr().err


def test_near_ids_are_sought_among_all(teach_films, capsys):
    teach_films(film_questions(60))
    assert run(["show", teach_films.folder, "-q", "q599"]) == 2
    assert "q59" in capsys.readouterr().err


def test_an_unfinished_run_is_listed_by_the_questions_numbers(teach_films, capsys, tmp_path):
    teach_films(film_questions(4))
    # As they stand while a run is under way: in the order in which they finished.
    lines = (tmp_path / "r/trajectories.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "r/trajectories.part").write_bytes(lines[3] + lines[1])
    (tmp_path / "r/trajectories.jsonl").unlink()
    with (tmp_path / "r/trajectories.part").open("ab") as file:
        file.write(b'{"question_id": "q9')
    assert run(["show", teach_films.folder]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert [row for row in rows if row[0].isdigit()] == [["2", "q1"], ["4", "q3"]]
