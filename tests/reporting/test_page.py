"""The page: whole, self-contained, safe against its own content, and with evaluate's numbers."""

import base64
import hashlib
import json
import re
import shutil

import pytest
from report_runs import QUICK, Page, question, write_log, write_run

from steper.cli.report import report
from steper.errors import InputError, SettingsError
from steper.evaluation.compare import compare
from steper.evaluation.methods import load_methods
from steper.evaluation.scoring import score_run
from steper.lm.shipped import locate_model
from steper.records import Question
from steper.reporting.contents import asked_of
from steper.reporting.provenance import bare_name, shown_path
from steper.reporting.wording import signed
from steper.text import percent, points

HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&{{ 7*7 }}<!--"


def cells(page, section, row):
    """Texts of the cells of the first table row in a section that begins with `row`."""
    (outer,) = page.all("section", id=section)
    for tr in page.inside(outer, "tr"):
        heads = page.inside(tr, "th", scope="row")
        if heads and heads[0]["text"].strip() == row:
            return [" ".join(td["text"].split()) for td in page.inside(tr, "td")]
    raise AssertionError(f"no row {row} in {section}")


def test_structure(whole):
    _, page = whole
    assert page.problems == []
    sections = [s["attributes"]["id"] for s in page.all("section") if "id" in s["attributes"]]
    assert sections == [
        "scores",
        "differences",
        "parts",
        "steps",
        "training",
        "cost",
        "trajectories",
        "counts",
        "provenance",
    ]
    links = [a["attributes"]["href"] for a in page.all("a")]
    ids = {e["attributes"]["id"] for e in page.elements if "id" in e["attributes"]}
    assert {link.removeprefix("#") for link in links} <= ids
    named = [e["attributes"]["aria-labelledby"] for e in page.all("table", class_="differences")]
    assert set(named) <= ids
    assert len(page.all("h1")) == 1
    assert page.all("html")[0]["attributes"]["lang"] == "en"


def test_ids_are_unique(whole):
    _, page = whole
    ids = [e["attributes"]["id"] for e in page.elements if "id" in e["attributes"]]
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_anywhere(whole):
    html, page = whole
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", html)
    assert "@import" not in html
    assert "url(" not in html
    for tag in ("link", "img", "iframe", "object", "embed", "base", "form"):
        assert not page.all(tag)
    assert not any({"src", "srcset", "xlink:href"} & set(e["attributes"]) for e in page.elements)
    assert all(a["attributes"]["href"].startswith("#") for a in page.all("a"))


def test_policy_allows_the_pages_own_script_alone(whole):
    _, page = whole
    (script,) = page.all("script")
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
    content = policy["attributes"]["content"]
    assert content.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in content
    assert not any(k.startswith("on") for e in page.elements for k in e["attributes"])


def test_hostile_text_is_shown_and_never_runs(tmp_path, make_page):
    name = f"a{HOSTILE}"
    asked = [question(i, HOSTILE, type=f"type{HOSTILE}") for i in range(2)]
    folder = write_run(tmp_path / "run", [True, False], HOSTILE, model=HOSTILE, questions=asked)
    other = write_run(tmp_path / "other", [False, False], HOSTILE, questions=asked)
    title = f"Title {HOSTILE}"
    html, page = make_page({name: [folder], "b": [other]}, title=title)
    assert page.problems == []
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert "alert(1)</script>" not in html
    assert not any(k.startswith("on") for e in page.elements for k in e["attributes"])
    text = page.all("body")[0]["text"]
    assert text.count(HOSTILE) > 10
    assert page.all("title")[0]["text"] == title
    articles = page.all("article")
    assert all(a["attributes"]["data-type"] == f"type{HOSTILE}" for a in articles)


def test_scores_are_those_of_eval(folders, whole):
    _, page = whole
    overall = score_run(folders["Vanilla-KD"][0], bootstrap=QUICK).metrics.overall
    answers, retrieval = overall.answers, overall.retrieval
    estimates = (answers.em, answers.f1, answers.acc, answers.acc_token)
    wanted = [
        f"{percent(e.value)} [{percent(e.low)}, {percent(e.high)}]"
        for e in (*estimates, retrieval.recall, retrieval.all_gold)
    ]
    assert cells(page, "scores", "Vanilla-KD") == ["cut", "12", *wanted]


def test_differences_are_those_of_compare(folders, make_page):
    _, page = make_page(folders, baseline="Vanilla-KD")
    methods = load_methods(folders, bootstrap=QUICK)
    found = compare(methods, "Vanilla-KD", ["em"], QUICK).metrics[0].differences[1]
    assert found.method == "StepER"
    row = cells(page, "differences", "StepER")
    assert row[0].startswith(f"+{100 * found.difference.value:.1f} [+")
    seeded = found.seeded
    assert row[2:4] == [f"{found.p_value:.4f}", f"{found.p_holm:.4f}"]
    assert row[4:] == [
        f"[{signed(seeded.interval.low)}, {signed(seeded.interval.high)}]",
        f"{seeded.p_value:.4f}",  # the only one with several seeds: nothing to correct
        points(seeded.detectable),
    ]


def test_seeds_are_shown_beside_their_mean(whole):
    _, page = whole
    em = cells(page, "scores", "StepER")[2]
    assert em.startswith("70.8 [")
    assert em.endswith("± 5.9 over 2 seeds")


def test_parts_and_steps_carry_evals_numbers(folders, whole):
    _, page = whole
    metrics = score_run(folders["teacher"][0], bootstrap=QUICK).metrics
    (section,) = page.all("section", id="parts")
    tips = {t["text"] for t in page.inside(section, "title")}
    for groups in (metrics.by_hops, metrics.by_type):
        for part in groups.values():
            em = part.answers.em
            low, high = percent(em.low), percent(em.high)
            assert f"teacher: {percent(em.value)} % [{low}–{high}]" in tips
    headings = {t["text"] for t in page.inside(section, "text", class_="heading")}
    assert {"2 hops · n = 6", "3 hops · n = 6", "bridge comparison · n = 4"} <= headings
    (steps,) = page.all("section", id="steps")
    numbers = [" ".join(td["text"].split()) for td in page.inside(steps, "td")]
    for step in metrics.steps:
        recall = step.recall
        low, high = percent(recall.low), percent(recall.high)
        assert f"{percent(recall.value)} [{low}, {high}]" in numbers


def test_cost_counts_all_tokens_of_all_runs(whole):
    _, page = whole
    row = cells(page, "cost", "StepER")
    assert row[2].startswith("240 [240")
    assert row[5] == f"{12 * 2 * 2 * 120:,}"
    assert row[6] == f"{12 * 2 * 2 * 7}"
    assert row[7] == "$0.048"
    assert row[8] == "12.512.5"  # a line a run


def test_training_is_found_by_the_models_folder(whole):
    _, page = whole
    (section,) = page.all("section", id="training")
    titles = [p["text"] for p in page.inside(section, "p", class_="panel-title")]
    assert [t.strip() for t in titles] == ["StepER: loss L", "StepER: σ"]
    labels = [t["text"] for t in page.inside(section, "text", class_="label")]
    assert sorted(labels) == sorted(["init", "exp", "agg"] * 2)
    assert len(page.inside(section, "polyline")) == 2 * 2 * 3  # panels, seeds, kinds
    assert len(page.inside(section, "circle", class_="dot")) == 2 * 3 * 2  # seeds, kinds, times
    (cost,) = page.all("section", id="cost")
    assert "50,000" in cost["text"]
    assert "987,654" in cost["text"]
    assert "training.seed" in page.all("section", id="provenance")[0]["text"]


def test_training_named_by_hand(folders, make_page, tmp_path):
    log = write_log(tmp_path / "kd-student", kinds=["agg"])
    logs = {"Vanilla-KD": [log], "a look": [write_log(tmp_path / "look")]}
    _, page = make_page(folders, logs)
    (section,) = page.all("section", id="training")
    titles = [p["text"].strip() for p in page.inside(section, "p", class_="panel-title")]
    assert titles == [
        "Vanilla-KD: loss L",
        "Vanilla-KD: σ",
        "StepER: loss L",
        "StepER: σ",
        "a look: loss L",
        "a look: σ",
    ]


def test_trajectories_side_by_side(folders, make_page):
    _, page = make_page(folders, examples=6)
    articles = page.all("article", class_="example")
    assert len(articles) == 6
    details = {a["attributes"]["data-verdict"]: page.inside(a, "details") for a in articles}
    assert set(details) == {"disagree", "all_right", "none_right"}
    unfolded = [
        a for a in articles if any("open" in d["attributes"] for d in page.inside(a, "details"))
    ]
    assert len(unfolded) == 1
    assert unfolded[0]["attributes"]["data-verdict"] == "disagree"
    for article in articles:
        columns = page.inside(article, "section", class_="column")
        heads = [h["text"].strip() for h in page.inside(article, "h4")]
        assert heads == ["teacher", "Vanilla-KD", "StepER"]
        for column in columns:
            assert [h["text"].split()[1] for h in page.inside(column, "h5")] == ["1", "2"]
            assert "Stopped: answered" in column["text"]
            right = "✓ right" in column["text"]
            assert ("2 of 2 gold" in column["text"]) == right
            assert len(page.inside(column, "span", class_="badge")) == (3 if right else 1)
            assert "found in step 1" in column["text"]


def test_filters_name_what_there_is(whole):
    _, page = whole
    buttons = page.all("button", aria_pressed="true") + page.all("button", aria_pressed="false")
    names = [b["text"] for b in buttons]
    assert names == ["All", "Disagreements", "bridge comparison", "comparison", "compositional"]
    assert "hidden" in page.all("div", class_="filters")[0]["attributes"]  # until the script runs


def test_counts_and_provenance(whole):
    _, page = whole
    assert cells(page, "counts", "teacher")[1:] == ["12", "12", "0", "0", "0", "0", "0", "0"]
    text = page.all("section", id="provenance")[0]["text"]
    for words in ("feedc0de", "digest of s1", "0123456789abcdef", "100 resamples, seed 0"):
        assert words in text
    assert text.count("SHA-256 of trajectories.jsonl") == 4


def test_same_input_same_page(folders, make_page):
    assert make_page(folders)[0] == make_page(folders)[0]
    assert make_page(folders, examples=4)[0] != make_page(folders, examples=4, seed=5)[0]


def luminance(colour):
    """Relative luminance of a #rrggbb colour (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_colours_stand_out_in_light_and_dark(folders, make_page):
    html, _ = make_page(folders, examples=0)
    pairs = dict(re.findall(r"(--\w[\w-]*|\.m\d)[: {]+(?:--c: )?light-dark\((.*?)\)", html))
    text = [name for name in pairs if name not in ("--paper", "--rule", "--wash", "--gold-wash")]
    assert len([name for name in text if name.startswith(".m")]) == 8
    for name in text:
        both = zip(pairs[name].split(", "), pairs["--paper"].split(", "), strict=True)
        for ink, paper in both:
            low, high = sorted((luminance(ink), luminance(paper)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_unfinished_run_on_request(folders, tmp_path):
    run = shutil.copytree(folders["teacher"][0], tmp_path / "teacher")
    lines = (run / "trajectories.jsonl").read_bytes().splitlines(keepends=True)
    (run / "trajectories.jsonl").unlink()
    (run / "trajectories.part").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    out = tmp_path / "page.html"
    with pytest.raises(InputError, match="--partial"):
        report([str(run)], out=out)
    report([str(run)], out=out, partial=True, resamples=100)
    page = Page(out.read_text("utf-8"))
    assert cells(page, "counts", "teacher")[1:] == ["12", "5", "0", "0", "0", "7", "0", "0"]
    assert "7 of 12 questions have no trajectory" in page.all("p", class_="warning")[0]["text"]
    assert len(page.all("article")) == 5


def test_one_run_alone(folders, make_page):
    _, page = make_page({"teacher": folders["teacher"]})
    assert page.problems == []
    assert not page.all("section", id="differences")
    assert not page.all("section", id="training")
    assert "Disagreements" not in page.all("body")[0]["text"]


def test_no_search_no_gold_no_types(tmp_path, make_page):
    asked = [question(i, hops=None, type=None, gold=(), answers=()) for i in range(3)]
    runs = {
        name: [write_run(tmp_path / name, [True] * 3, questions=asked, search=False)]
        for name in ("a", "b")
    }
    _, page = make_page(runs)
    assert page.problems == []
    for section in ("differences", "parts", "steps"):
        assert not page.all("section", id=section)
    assert "not scored" in page.all("body")[0]["text"]


def test_many_methods_keep_apart(tmp_path, make_page):
    runs = {f"method {i}": [write_run(tmp_path / f"r{i}", [i % 2, 1, 0])] for i in range(10)}
    _, page = make_page(runs, examples=1)
    marks = set()
    for li in page.inside(page.all("ul", class_="methods")[0], "li"):
        (svg,) = page.inside(li, "svg")
        shape = page.inside(svg, "polygon") + page.inside(svg, "circle")
        marks.add((li["attributes"]["class"], json.dumps(shape[0]["attributes"], sort_keys=True)))
    assert len(marks) == 10


def test_command_writes_the_page_and_names_it(folders, tmp_path, capsys):
    out = tmp_path / "page.html"
    (teacher,), (kd,), seeds = folders.values()
    group = [f"StepER={','.join(map(str, seeds))}"]
    report([f"teacher={teacher}", str(kd)], group=group, out=out, resamples=100, title="A title")
    assert capsys.readouterr().out == f"Wrote {out}\n"
    page = Page(out.read_text("utf-8"))
    assert page.all("h1")[0]["text"] == "A title"
    assert not list(tmp_path.glob(".page.html*"))


def test_command_refuses(folders, tmp_path, capsys):
    out = tmp_path / "page.html"
    run = str(folders["teacher"][0])
    for arguments, error, said in (
        ({"runs": []}, InputError, "at least one run"),
        ({"runs": [run], "examples": -1}, SettingsError, "--examples is -1"),
        ({"runs": [run], "training": ["x=nowhere"]}, InputError, "nowhere/log.jsonl: no such file"),
        ({"runs": [run], "baseline": "techer"}, InputError, "did you mean teacher"),
        ({"runs": [run], "out": tmp_path}, InputError, "is a folder"),
    ):
        runs = arguments.pop("runs")
        with pytest.raises(error, match=said):
            report(runs, **{"out": out, "resamples": 100, **arguments})
    assert not out.exists()


def test_no_path_of_the_machine_is_shown(folders, whole, tmp_path):
    html, _ = whole
    assert str(folders["teacher"][0].parents[1]) not in html
    assert shown_path(tmp_path / "runs/eval/s0", tmp_path / "runs") == "eval/s0"
    assert shown_path(tmp_path / "else/where/s0", tmp_path / "runs") == "where/s0"


def test_models_are_shown_by_name():
    assert bare_name(locate_model("shipped:teacher")) == "shipped:teacher"
    assert bare_name("hf:/models/llama") == bare_name("/models/llama") == "llama"
    assert bare_name("meta-llama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"


def test_a_generated_world_is_not_called_by_its_format():
    made = Question(
        id="culture-3-test-00001", text="?", answers=("a",), benchmark="2wikimultihopqa"
    )
    real = made.model_copy(update={"id": "8813f87c0bdd11eba7f7acde48001122"})
    assert asked_of({q.id: q for q in (made,)}) == ["a generated world"]
    assert asked_of({q.id: q for q in (made, real)}) == ["a generated world", "2WikiMultiHopQA"]


def test_a_training_of_students_asked_in_two_ways_is_shown_once(folders, make_page, tmp_path):
    log = write_log(tmp_path / "student")
    html, page = make_page(folders, {"Vanilla-KD": [log], "StepER": [log]})
    assert html.count("(training of Vanilla-KD)") == 1
    assert "(training of StepER)" not in html
    (section,) = page.all("section", id="training")
    assert len(page.inside(section, "svg", role="img")) == 2  # its losses and its sigmas
