"""What a notebook shows: one line for everything, tables and steps where there is more to see."""

from html.parser import HTMLParser

import pytest

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.evaluation.compare import compare
from steper.evaluation.methods import load_methods
from steper.evaluation.scoring import score_run, write_evaluation
from steper.evaluation.statistics import Bootstrap
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.records import Hit, Passage, Question, Step, Trajectory
from steper.retrieve import BM25Index, Found, HttpRetriever
from steper.runs import Run, teach

SCRIPT = "<script>alert('x')</script>"
QUICK = Bootstrap(resamples=100)


class Reader(HTMLParser):
    """Refuses what is not closed, collects the tags and the text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def run_in(folder, texts=FILM, script=film_script):
    return teach(film_questions(3), "ircot", ScriptedModel(script), DictRetriever(texts), folder)


def trajectory_of(text):
    passage = Passage.make(text, text)
    hit = Hit(passage_id=passage.id, score=1.5, rank=1)
    step = Step(index=1, kind="agg", query=text, hits=(hit,), rationale=text)
    return Trajectory(
        question_id=text,
        question=text,
        strategy="ircot",
        layout="passages_first",
        model=text,
        steps=(step,),
        passages=(passage,),
        answer=text,
        status="answered",
        stop_reason="answered",
    )


def test_reprs_say_what_it_is():
    question = Question(id="5a8b57f25542995d1e6f1371", text="When was the director born?", hops=2)
    told = "Question('5a8b57f2554…', 'When was the director born?', 2 hops, generic)"
    assert repr(question) == str(question) == told
    assert (
        repr(Found(Passage.make("Oslo", "A town."), 2)) == "Found(2.00, Passage('Oslo', 'A town.'))"
    )
    assert repr(PromptSettings(demos=0)) == "PromptSettings(demos=0)"
    assert repr(Run("runs/m1")) == "Run('runs/m1')"
    assert (
        repr(HttpRetriever("http://localhost:8")) == "HttpRetriever('http://localhost:8/retrieve')"
    )
    assert repr(ScriptedModel(film_script)) == "ScriptedModel('scripted', plain)"


@pytest.mark.parametrize("text", ["word " * 100, "x" * 500, "\n\n", SCRIPT])
def test_reprs_are_one_line(text, tmp_path):
    trajectory = trajectory_of(text)
    passage, step = trajectory.passages[0], trajectory.steps[0]
    question = Question(id=text, text=text, hops=10, benchmark="2wikimultihopqa", answers=(text,))
    index = BM25Index.build([Passage.make("Oslo", f"A town. {text}")])
    for one in (trajectory, passage, step, step.hits[0], question, Found(passage, 1.0), index):
        assert len(repr(one)) <= 100
        assert "\n" not in repr(one)
        assert repr(one).startswith(type(one).__name__)
    index.close()


def test_equality_and_json_are_untouched():
    one, other = trajectory_of("a"), trajectory_of("a")
    assert one == other
    assert Trajectory.model_validate_json(one.model_dump_json()) == one


def test_a_trajectory_is_shown_step_by_step(tmp_path):
    read = Reader(next(run_in(tmp_path / "run").trajectories())._repr_html_())
    for said in (
        "Step 1 · init",
        "1. Gold Rain (10.00)",
        "Gold Rain was directed by Ann Lee.",
        "1950",
    ):
        assert said in read.text


def test_a_run_shows_its_counts_and_once_scored_its_scores(tmp_path):
    run = run_in(tmp_path / "run")
    read = Reader(run._repr_html_())
    assert "questions\n3\n" in read.text
    assert "Scores" not in read.text
    write_evaluation(score_run(run.path), run.path)
    assert "EM\n100 [100, 100]" in Reader(run._repr_html_()).text
    assert Run(tmp_path / "nowhere")._repr_html_() is None


def test_a_comparison_shows_intervals_and_p_values(tmp_path):
    run_in(tmp_path / "good")
    run_in(tmp_path / "bad", script=lambda request: "So the answer is: 1900.")
    methods = load_methods(
        {"good": [str(tmp_path / "good")], SCRIPT: [tmp_path / "bad"]}, False, QUICK
    )
    found = compare(methods, "good", ("em",), QUICK)
    assert repr(found) == f"Comparison(3 questions, EM: good 100, {SCRIPT} 0.0)"
    read = Reader(found._repr_html_())
    assert "100 [100, 100]" in read.text
    assert "-100.0 [-100.0, -100.0]" in read.text
    assert "0.2500" in read.text
    assert SCRIPT in read.text
    assert "script" not in read.tags


def test_every_text_is_escaped(tmp_path):
    html = trajectory_of(SCRIPT)._repr_html_()
    assert html.count("&lt;script&gt;") == html.count("&lt;/script&gt;") == 7
    assert "script" not in Reader(html).tags
    run = run_in(tmp_path / SCRIPT.replace("/", "-"))
    assert "script" not in Reader(run._repr_html_()).tags
