"""Run folders and training logs by hand, and a reader of the page, for the report's tests."""

import json
from html.parser import HTMLParser

from steper.evaluation.statistics import Bootstrap
from steper.records import Hit, Passage, Question, Step, StopReason, Trajectory, Usage
from steper.store import write_jsonl

TYPES = ("comparison", "bridge_comparison", "compositional")
QUICK = Bootstrap(resamples=100)
VOID = {"meta", "br", "link", "img", "input", "hr"}


def passages(i, extra=""):
    return [
        Passage.make(f"Film {i}", f"Film {i} was directed by Director {i}.{extra}"),
        Passage.make(f"Director {i}", f"Director {i} was born in Town {i}."),
        Passage.make(f"Noise {i}", "Noise is unwanted sound."),
    ]


def question(i, extra="", **fields):
    film, director, _ = passages(i, extra)
    fields = {"answers": (f"Town {i}",), "gold": (film, director), "hops": 2 + i % 2, **fields}
    fields.setdefault("type", TYPES[i % len(TYPES)])
    text = f"Where was the director of Film {i} born?{extra}"
    return Question(id=f"q{i}", text=text, benchmark="2wikimultihopqa", **fields)


def trajectory(i, right=True, extra="", search=True, tokens=100, status="answered"):
    """Two steps: the film's passage and noise, then the director's where the answer is right."""
    film, director, noise = passages(i, extra)
    found = [(film, noise), (director, film) if right else (noise,)] if search else [(), ()]
    asked = question(i, extra)
    answer = f"Town {i}" if right else f"Nowhere{extra}"
    texts = [f"Film {i} was directed by Director {i}.", f"So the answer is: {answer}."]
    steps = tuple(
        Step(
            index=s + 1,
            kind=("init", "agg")[s],
            query=(asked.text, f"Director {i}{extra}")[s] if search else None,
            hits=tuple(
                Hit(passage_id=p.id, score=9.5 - r, rank=r) for r, p in enumerate(found[s], 1)
            ),
            context=tuple(p.id for p in found[s]),
            raw=texts[s] + (" And more." if s else ""),
            rationale=texts[s] + extra,
            usage=Usage(prompt_tokens=tokens, completion_tokens=7, dollars=0.001),
        )
        for s in range(2)
    )
    return Trajectory(
        question_id=f"q{i}",
        question=asked.text,
        strategy="ircot",
        layout="passages_first",
        model="scripted",
        steps=steps,
        passages=tuple({p.id: p for p in (film, director, noise)}.values()) if search else (),
        answer=answer if status == "answered" else "",
        status=status,
        stop_reason=StopReason.ANSWERED if status == "answered" else StopReason.STEP_CAP,
    )


def write_run(folder, right, extra="", model="scripted", questions=None, **made):
    """A run folder: `right` says question by question whether it is answered."""
    folder.mkdir(parents=True)
    manifest = {
        "status": "complete",
        "settings_hash": "0123456789abcdef",
        "settings": {
            "strategy": {"name": "ircot", "k": 4},
            "model": {"kind": "hf", "model": str(model), "digest": f"digest of {folder.name}"},
        },
        "seconds": 12.5,
        "versions": {"steper": "0.1"},
        "git_commit": "feedc0de",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    asked = questions or [question(i, extra) for i in range(len(right))]
    write_jsonl(folder / "questions.jsonl", asked)
    told = [trajectory(i, yes, extra, **made) for i, yes in enumerate(right)]
    write_jsonl(folder / "trajectories.jsonl", told)
    return folder


def write_log(folder, kinds=("init", "exp", "agg"), steps=50):
    """A training folder whose losses fall and whose sigmas follow them."""
    folder.mkdir(parents=True)
    rows = []
    for step in range(1, steps + 1):
        row = {"step": step, "loss": 1.0, "lr": 1e-3, "tokens": 1000 * step, "seconds": 0.5 * step}
        for j, kind in enumerate(("init", "exp", "agg")):
            used = kind in kinds
            row[f"sigma_{kind}"] = (2.0 / step + 0.1 * (j + 1)) ** 0.5 if used else 1.0
            if used:
                row[f"loss_{kind}"] = 2.0 / step + 0.01 * (j + 1)
        rows.append(row)
        if step % 25 == 0:
            rows.append({"step": step, "eval_loss": 0.5, **{f"eval_loss_{k}": 0.5 for k in kinds}})
    write_jsonl(folder / "log.jsonl", rows)
    settings = {"training": {"seed": 17, "lr": 1e-3}}
    manifest = {"settings": settings, "resolved": {"parameters": 987_654}, "git_commit": "c0ffee"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


class Page(HTMLParser):
    """A page as the standard library reads it: elements with attributes and text, well nested."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements = []  # dicts: tag, attributes, text (all of its inner text)
        self.open = []
        self.problems = []
        self.feed(html)
        self.close()
        self.problems += [f"{e['tag']} is not closed" for e in self.open]

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attributes": dict(attrs), "text": "", "inside": list(self.open)}
        self.elements.append(element)
        if len(dict(attrs)) < len(attrs):
            self.problems.append(f"{tag} repeats an attribute")
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1]["tag"] != tag:
            self.problems.append(f"</{tag}> where {self.open[-1]['tag'] if self.open else None}")
            return
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **wanted):
        """Elements of a tag whose attributes include these; `class_` matches one of the classes."""
        return [
            e
            for e in self.elements
            if e["tag"] == tag
            and all(
                v in (e["attributes"].get("class") or "").split()
                if k == "class_"
                else e["attributes"].get(k.replace("_", "-")) == v
                for k, v in wanted.items()
            )
        ]

    def inside(self, outer, tag, **wanted):
        """Elements of a tag within another element."""
        return [e for e in self.all(tag, **wanted) if any(o is outer for o in e["inside"])]
