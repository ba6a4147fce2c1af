# %% [markdown]
# # The whole job
#
# A teacher answers multi-hop questions by searching and reasoning in turns; its trajectories become
# training examples, one for each step; two students learn from them. Everything here is small and
# on board: a generated encyclopedia, a shipped teacher (6.4M parameters), a shipped student (0.8M).
# There is nothing to download, and no GPU is needed: a few minutes on two CPU cores.
#
# Run it as `python examples/quickstart.py` or cell by cell. Every call goes on where an earlier one
# stopped, and does nothing that is done. A folder that was made with other settings is refused:
# where you change a number, name another `OUT`, too.

# %%
import os
from pathlib import Path

import steper
from steper.data.world import make_world, write_world

SIZE = os.environ.get("STEPER_EXAMPLE_SIZE", "full")  # tiny: to see in seconds that all of it runs
TRAIN, TEST, MAX_STEPS = {"full": (200, 60, None), "tiny": (6, 4, 2)}[SIZE]
OUT = Path("runs/quickstart") / SIZE

# %% [markdown]
# ## A world to ask about
#
# Articles about invented people, places and works, and questions in 2WikiMultiHopQA's format. The
# test questions are about entities that no training question names.

# %%
world = make_world(seed=3, counts={"train": TRAIN, "test": TEST})
files = write_world(world, OUT / "world")

# The teacher searches the articles that training questions are about, so that those of test
# questions come up in training in no role; tests are asked over all.
own = steper.BM25Index.build(steper.load_corpus(files["train-corpus"]))
index = steper.BM25Index.build(steper.load_corpus(files["corpus"]))
print(index)
print(steper.load_questions(files["train"])[0])

# %% [markdown]
# ## The teacher
#
# A strategy is how a question is gone about; `ircot` writes one sentence a step and searches with
# it. A shipped model says itself how it wants to be prompted (its `steper.json`: no instruction, no
# demonstrations), so no settings are given.

# %%
run = steper.teach(files["train"], "ircot", "shipped:teacher", own, OUT / "teacher")
print("teacher, on the training questions:", steper.evaluate(run))

trajectory = next(run.trajectories())
print(trajectory)
for step in trajectory.steps:
    print(" ", step)

# %% [markdown]
# ## Training examples
#
# A recipe turns trajectories into examples: `steper` makes one of every step, `vanilla_kd` one of
# the whole chain. Trajectories with a wrong answer are left out, and so is whatever is in the test
# file. All of that is counted.

# %%
examples = {
    recipe: steper.build(
        run,
        recipe,
        out=OUT / "examples" / recipe,
        student="shipped:student-base",
        exclude=files["test"],
    )
    for recipe in ("vanilla_kd", "steper")
}
for built in examples.values():
    print(built)
    print("  left out:", built.counts.dropped)

# %% [markdown]
# ## Two students

# %%
settings = {
    "epochs": 3,
    "max_steps": MAX_STEPS,
    "optimizer": "muon",
    "lr": 3e-3,
    "freeze_embeddings": True,  # names are tokens here: training on some would spoil the others
    "batch_size": 2,
    "micro_batch_size": 1,
    "dtype": "float32",  # on most CPUs faster than bfloat16 for a model this small
}
students = {
    recipe: steper.train(built, "shipped:student-base", OUT / "students" / recipe, settings)
    for recipe, built in examples.items()
}
for student in students.values():
    print(student)

# %% [markdown]
# ## Who answers the test questions?
#
# Every model searches the same index, of all articles. A student is asked as it was trained, by the
# strategy and the prompts of the examples that it has learnt from.

# %%
models = {"teacher": "shipped:teacher", "untrained": "shipped:student-base", **students}
asked = {}
for name, model in models.items():
    asked[name] = OUT / "test" / name
    print(f"{name}:", steper.evaluate(model, files["test"], index, asked[name]))

# %% [markdown]
# The comparison is paired, question by question. **It shows the pipeline, and not which method is
# better**: that depends on who ends a step, the student or IRCoT's rule of one sentence (the README
# has the numbers).

# %%
comparison = steper.compare(asked, baseline="vanilla_kd")
print(comparison)
for difference in comparison.metrics[0].differences:
    points, p = 100 * difference.difference.value, difference.p_value
    print(f"{difference.method}: {points:+.1f} points EM from vanilla_kd, p = {p:.2g}")

page = steper.report(asked, OUT / "report.html", baseline="vanilla_kd", training=students)
print(f"Report: {page}")
own.close()
index.close()
