# %% [markdown]
# # A strategy of your own
#
# A strategy is a generator: it yields searches and generations, is sent their results, and returns
# how it ended. It does no I/O, so the same code asks a teacher, makes a student's training prompts
# (each trajectory is lived through again by its strategy), and asks the student. This script writes
# one, drives it with two Python functions, and checks that the prompts are really the same.

# %%
from dataclasses import replace

from pydantic import Field

import steper
from steper.lm import Request
from steper.prompt.segments import Prompt
from steper.records import Question, StopReason
from steper.strategy import Actions, Ending, StepSettings, Strategy, Trace
from steper.strategy.ircot import IRCoT
from steper.strategy.stated_answer import stated_answer

OUT = "runs/your_own_strategy"

# %% [markdown]
# ## Other words
#
# Where the words, or the defaults of the settings, are all that changes, a subclass of a shipped
# strategy is a few lines.


# %%
class Terse(IRCoT):
    """IRCoT in fewer words."""

    name = "terse"
    words = replace(
        IRCoT.words,
        name="terse",
        instruction="One new fact from the passages at a time; then: So the answer is: <answer>.",
    )


# %% [markdown]
# ## Another rule
#
# `Careful` does not believe its first answer: it searches once more, with the question and that
# answer, and asks for the answer again. `self.loop(trace)` gathers passages, keeps prompts within
# the model's window and writes the record; the generator only says what comes next.


# %%
class CarefulSettings(StepSettings):
    """What may be set: in Python, in a YAML file, or on the command line as --max-facts."""

    max_facts: int = Field(4, ge=1, description="facts told before an answer is asked for")


class Careful(Strategy[CarefulSettings]):
    """Tells facts, one a step, and looks again before it answers."""

    name = "careful"
    settings_type = CarefulSettings
    words = replace(
        IRCoT.words,
        name="careful",
        instruction="State one new fact from the passages, or: So the answer is: <answer>. "
        "You will be asked to confirm it.",
    )

    def run(self, trace: Trace) -> Actions:
        """Facts until an answer is stated; the step after that has the last word."""
        loop = self.loop(trace)
        query, answer = trace.question, None
        while not answer and len(trace.steps) < self.settings.max_facts:
            completion = yield from loop.step(query, ("\n",))
            if completion is None:
                return Ending("", StopReason.CONTEXT_BUDGET)
            query = loop.keep(completion, completion.text).rationale
            answer = stated_answer(query)
        check = f"{trace.question} {answer or ''}"
        completion = yield from loop.step(check, ("\n",), self.final_cue)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        answer = stated_answer(loop.keep(completion, completion.text, self.final_cue).rationale)
        return Ending(answer or "", StopReason.ANSWERED if answer else StopReason.EMPTY_GENERATION)


# %% [markdown]
# ## Functions as retriever and as language model
#
# A corpus may be a function `(query, k) -> passages`, a model a function that answers a request.
# This retriever finds the passages whose title stands in the query. This model is in a hurry: after
# two facts it answers from what it has told, and looks at the passages only when it is asked again.

# %%
PASSAGES = {
    "Peer Gynt": "Peer Gynt is a play by Henrik Ibsen.",
    "Hedda Gabler": "Hedda Gabler was written by Henrik Ibsen.",
    "Henrik Ibsen": "Henrik Ibsen died in Christiania.",
    "Christiania": "Christiania is now called Oslo.",
}
QUESTIONS = [
    Question(id=title, text=f"Where did the author of {title} die?", answers=("Oslo",))
    for title in ("Peer Gynt", "Hedda Gabler")
]


def find(query: str, k: int) -> list[tuple[str, str]]:
    """At most `k` passages as (title, text), best first."""
    return [(title, text) for title, text in PASSAGES.items() if title in query][:k]


prompts: dict[tuple[str, int], Prompt] = {}


def reader(request: Request) -> str:
    """A fact, or the answer; `request.prompt` is what a language model would read."""
    prompts[request.question_id, request.step] = request.prompt
    told = request.rationales
    untold = [passage.text for passage in request.passages if passage.text not in told]
    if len(told) < 2 and untold:
        return untold[0]
    source = request.passages[-1].text if request.cue else told[-1]
    return f"So the answer is: {source.split()[-1]}"


# %%
for strategy in (Terse, Careful):
    trajectory = steper.ask(QUESTIONS[0], reader, find, strategy=strategy)
    print(trajectory)
    for step in trajectory.steps:
        print(" ", step)

# %% [markdown]
# ## Training prompts are inference prompts
#
# A run, then its examples. `build` is told the class, because a run's folder is not trusted to name
# code. `overwrite` starts anew: else the same call with the same code goes on where it stopped, and
# the functions would not be asked again.

# %%
prompts.clear()
run = steper.teach(
    QUESTIONS, Careful, reader, find, f"{OUT}/run", prompt={"demos": 0}, overwrite=True
)
print("careful:", steper.evaluate(run))
built = steper.build(run, "steper", strategy=Careful, out=f"{OUT}/examples", overwrite=True)
print(built)

# %% [markdown]
# Each example is the prompt, segment by segment, that the function was given, and then what it is
# to write there.

# %%
examples = list(built.folder.examples())
for example in examples:
    prompt = [segment for segment in example.segments if segment.kind is None]
    assert tuple(prompt) == prompts[example.question_id, example.step].segments
assert len(examples) == len(prompts)
print(f"{len(examples)} training prompts are the {len(prompts)} prompts that the model was asked")

for segment in examples[-1].segments:
    print(f"[{segment.role}{'' if segment.kind is None else f', learnt as {segment.kind}'}]")
    print(segment.text)

# %% [markdown]
# To use a strategy everywhere, put its class into a module of yours. Then it has a name:
# `steper teach --strategy my_module:Careful --max-facts 3`, and in Python
# `strategy="my_module:Careful"`. A student that is trained on its examples is asked by it, too.
