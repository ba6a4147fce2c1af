# %% [markdown]
# # Your own questions, your own corpus
#
# Questions are JSON lines with `id`, `question` and `answers`; a corpus is JSON lines with `title`
# and `text`. Both are written by hand below. Where questions also have a decomposition, `gold` can
# be the teacher: no language model, only the annotation and what your retriever really finds. That
# is how to try a corpus, and the filters, before any model costs anything.

# %%
import json
from pathlib import Path

import steper
from steper.examples.filters import REASONS
from steper.strategy import Generate, Search

OUT = Path("runs/your_own_data")

# %% [markdown]
# ## A corpus
#
# It has the gaps that real corpora have: nothing about Rembrandt, and Vermeer's passage does not
# say where he was born. The last two passages answer none of the questions.

# %%
CORPUS = {
    "Pride and Prejudice": "Pride and Prejudice is a novel of 1813 by Jane Austen.",
    "Jane Austen": "Jane Austen was an English novelist, born in Steventon.",
    "Walden": "Walden is a book of 1854 by Henry David Thoreau about a life in the woods.",
    "Henry David Thoreau": "Henry David Thoreau was an American writer, born in Concord.",
    "Brooklyn Bridge": "The Brooklyn Bridge was designed by John A. Roebling. It opened in 1883.",
    "John A. Roebling": "John A. Roebling was an engineer of bridges, born in Mühlhausen.",
    "Sydney Opera House": "The Sydney Opera House was designed by Jørn Utzon.",
    "Jørn Utzon": "Jørn Utzon was a Danish architect, born in Copenhagen.",
    "St Paul's Cathedral": "St Paul's Cathedral in London was designed by Christopher Wren.",
    "Christopher Wren": "Christopher Wren was an English architect, born in East Knoyle.",
    "Uranus": "Uranus is the seventh planet. It was discovered by William Herschel in 1781.",
    "William Herschel": "William Herschel was an astronomer and a musician, born in Hanover.",
    "Ceres": "Ceres is a dwarf planet. It was discovered by Giuseppe Piazzi in 1801.",
    "Giuseppe Piazzi": "Giuseppe Piazzi was an Italian priest, born in Ponte in Valtellina.",
    "Peer Gynt": "Peer Gynt is a play in verse of 1867 by Henrik Ibsen.",
    "Henrik Ibsen": "Henrik Ibsen was a Norwegian playwright, born in Skien.",
    "Aida": "Aida is an opera by Giuseppe Verdi, first given in Cairo in 1871.",
    "Giuseppe Verdi": "Giuseppe Verdi was an Italian composer, born in Le Roncole.",
    "Fidelio": "Fidelio is the only opera by Ludwig van Beethoven.",
    "Ludwig van Beethoven": "Ludwig van Beethoven was a composer and pianist, born in Bonn.",
    "The Night Watch": "The Night Watch is a painting of 1642 by Rembrandt.",
    "Girl with a Pearl Earring": "Girl with a Pearl Earring is a painting by Johannes Vermeer.",
    "Johannes Vermeer": "Johannes Vermeer was a Dutch painter of quiet rooms.",
    "Cairo": "Cairo is the capital of Egypt.",
    "Steventon": "Steventon is a village in Hampshire.",
}

# %% [markdown]
# ## Twelve questions of two hops
#
# A row is (what is asked, a work, its maker, where the maker was born). `context` holds a
# question's gold passages, and each hop says in which of them it is answered; `#1` is the first
# hop's answer.

# %%
ROWS = [
    ("the author of Pride and Prejudice", "Pride and Prejudice", "Jane Austen", "Steventon"),
    ("the author of Walden", "Walden", "Henry David Thoreau", "Concord"),
    ("the designer of the Brooklyn Bridge", "Brooklyn Bridge", "John A. Roebling", "Mühlhausen"),
    ("the architect of the Sydney Opera House", "Sydney Opera House", "Jørn Utzon", "Copenhagen"),
    (
        "the architect of St Paul's Cathedral",
        "St Paul's Cathedral",
        "Christopher Wren",
        "East Knoyle",
    ),
    ("the discoverer of Uranus", "Uranus", "William Herschel", "Hanover"),
    ("the discoverer of Ceres", "Ceres", "Giuseppe Piazzi", "Ponte in Valtellina"),
    ("the author of Peer Gynt", "Peer Gynt", "Henrik Ibsen", "Skien"),
    ("the composer of Aida", "Aida", "Giuseppe Verdi", "Le Roncole"),
    ("the composer of Fidelio", "Fidelio", "Ludwig van Beethoven", "Bonn"),
    ("the painter of The Night Watch", "The Night Watch", "Rembrandt", "Leiden"),
    (
        "the painter of Girl with a Pearl Earring",
        "Girl with a Pearl Earring",
        "Johannes Vermeer",
        "Delft",
    ),
]
UNFINDABLE = {"Rembrandt": "Rembrandt was a Dutch painter, born in Leiden."}  # not in the corpus


def question_row(number: int, asked: str, work: str, maker: str, place: str) -> dict[str, object]:
    """A line of the question file."""
    texts = {**CORPUS, **UNFINDABLE}
    return {
        "id": f"q{number}",
        "question": f"Where was {asked} born?",
        "answers": [place],
        "context": [{"title": title, "text": texts[title]} for title in (work, maker)],
        "decomposition": [
            {"question": f"Who is {asked}?", "answer": maker, "passage": 0},
            {"question": "Where was #1 born?", "answer": place, "passage": 1},
        ],
    }


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    """JSON lines, as they are read everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


rows = [question_row(number, *row) for number, row in enumerate(ROWS, start=1)]
questions = write_lines(OUT / "questions.jsonl", rows)
test = write_lines(OUT / "test.jsonl", rows[:2])  # to be kept out of training
corpus = write_lines(
    OUT / "corpus.jsonl", [{"title": title, "text": text} for title, text in CORPUS.items()]
)
print(steper.load_questions(questions)[0])

# %% [markdown]
# ## An index, once
#
# A corpus.jsonl may be named wherever a corpus is wanted and is then indexed in memory. An index
# that is saved opens at once, whatever its size.

# %%
index = steper.BM25Index.build(steper.load_corpus(corpus))
index.save(OUT / "index")
print(index)
for found in index.search(["Where was the composer of Aida born?"], k=2)[0]:
    print(" ", found)
index.close()

# %% [markdown]
# ## Trajectories
#
# The gold teacher knows no more than was retrieved: where a gold passage does not turn up, the
# question is dropped, with the reason. A run is of one corpus and one set of questions, and is
# refused for others; `overwrite` starts anew, so that you can change the data above.

# %%
run = steper.teach(
    questions,
    "ircot",
    "gold",
    OUT / "index",
    OUT / "gold",
    settings={"k": 2, "max_steps": 4},
    prompt={"demos": 0},
    overwrite=True,
)
for trajectory in run.trajectories():
    print(trajectory)
    if trajectory.error:
        print(f"  because {trajectory.error}")

# %% [markdown]
# One of them, step by step: what was searched, what was found, what was written. (In a notebook a
# trajectory shows itself so; in a terminal there is `steper show runs/your_own_data/gold -q q9`.)

# %%
trajectory = next(t for t in run.trajectories() if t.question_id == "q9")
titles = {passage.id: passage.title for passage in trajectory.passages}
print(trajectory.question)
for step in trajectory.steps:
    print(f"{step.index}. {step.kind}")
    print(f"   search: {step.query}")
    print(f"   found:  {', '.join(titles[hit.passage_id] for hit in step.hits)}")
    print(f"   wrote:  {step.rationale}")
print(f"Answer: {trajectory.answer} ({trajectory.stop_reason.value})")

# %% [markdown]
# ## What is fit to learn from
#
# Filters look at answers (`correct`) and, if you want, at single steps: `gold_seen` wants a hop's
# gold passage in the prompt of the step that states its answer, `min_grounded` wants names and
# numbers to stand in what the step was given. Nothing is dropped without being counted: Vermeer's
# answer is right, but his passage does not say so.

# %%
built = steper.build(
    run,
    "steper",
    out=OUT / "examples",
    filters={"correct": "em", "gold_seen": True, "min_grounded": 1.0},
    exclude=test,
    overwrite=True,
)
print(built)
for reason, count in built.counts.dropped.items():
    print(f"{count} × {reason}: {REASONS[reason]}")

example = next(built.folder.examples())
for segment in example.segments:
    print(f"[{segment.role}{'' if segment.kind is None else f', learnt as {segment.kind}'}]")
    print(segment.text)

# %% [markdown]
# ## One question
#
# `ask` writes nothing; `watch` is told each search and each text as it comes. Put a student's
# folder, a server's model (`openai:NAME`) or a function in the place of `gold`.


# %%
def tell(trace: object, event: object) -> None:
    """Print what the strategy asks for."""
    if isinstance(event, Search):
        print(f"  searching: {event.query}")
    elif isinstance(event, Generate):
        print(f"  writing step {event.step} from {len(event.passages)} passages")


asked = steper.load_questions(questions)[3]
answer = steper.ask(asked, "gold", OUT / "index", settings={"k": 2}, watch=tell)
print(f"{asked.text} {answer.answer}")
