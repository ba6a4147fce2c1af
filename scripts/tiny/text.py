"""Training text for the small models: conversations about generated worlds.

A *conversation* is a list of chat messages. `Reader` makes single questions over 1–20 passages
(all that the student base ever sees), `Tutor` adds gold IRCoT and Self-Ask steps with passages
as BM25 retrieves them (the teacher). Prompts come from the package's own renderer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from steper.data.world.generate import DOMAINS, World, make_world
from steper.data.world.measure import is_followable
from steper.data.world.names import PARTS
from steper.data.world.world_questions import QuestionMaker, WorldHop, WorldQuestion
from steper.prompt.render import PromptSettings, Turn, build_prompt
from steper.records import Passage
from steper.strategy import STRATEGIES
from steper.strategy.ircot.queries import without_wh_words
from tiny.gold_steps import gold_steps
from tiny.retrieval import TitleIndex, world_passages

Conversation = list[dict[str, str]]

PASSAGES_FIRST = PromptSettings(layout="passages_first", instruction=False, demos=0)
APPEND_ONLY = PromptSettings(layout="append_only", instruction=False, demos=0)
K, CAP = 4, 15
YEAR_QUESTIONS = 0.08


def _messages(
    strategy: str, question: str, turns: Sequence[Turn], settings: PromptSettings
) -> Conversation:
    words = STRATEGIES.find(strategy).words
    return build_prompt(words, question, turns, settings, "chat").messages()


class Reader:
    """Single questions about the passages of one world."""

    def __init__(
        self, world: World, rng: random.Random, parts: Sequence[str] = tuple(PARTS)
    ) -> None:
        self.world = world
        self.rng = rng
        self.titles = [title for title, p in world.passages.items() if p.part in parts]
        domain = DOMAINS[world.domain]
        self.makers = {
            part: QuestionMaker(domain, facts, world.passages, rng)
            for part, facts in world.facts.items()
        }
        self.passages = world_passages(world)
        self.by_type: dict[str, list[str]] = {}
        for part in parts:
            for title, kind in world.facts[part].entities.items():
                self.by_type.setdefault(kind, []).append(title)
        self.by_word: dict[str, list[str]] = {}
        for title in self.titles:
            for word in title.split():
                self.by_word.setdefault(word, []).append(title)
        self.mentions: dict[str, list[str]] = {}
        for part in parts:
            for (subject, _), value in world.facts[part].facts.items():
                self.mentions.setdefault(value, []).append(subject)

    def context(self, size: int, alike: bool = False) -> list[str]:
        """Titles of `size` passages, many of which share words or facts; `alike`: of one type."""
        if alike:
            kind = self.rng.choice(list(self.by_type))
            return self.rng.sample(self.by_type[kind], min(size, len(self.by_type[kind])))
        chosen = [self.rng.choice(self.titles)]
        while len(chosen) < size:
            if self.rng.random() < 0.4:
                title = self.rng.choice(self.titles)
            else:
                near = self.rng.choice(chosen)
                word = self.rng.choice(near.split())
                title = self.rng.choice([*self.by_word[word], *self.mentions.get(near, ())])
            if title not in chosen:
                chosen.append(title)
            elif self.rng.random() < 0.3:
                title = self.rng.choice(self.titles)
                if title not in chosen:
                    chosen.append(title)
        self.rng.shuffle(chosen)
        return chosen

    def ask(self, titles: Sequence[str], count: int) -> list[tuple[str, WorldHop | None, str]]:
        """`count` questions (question, hop, answer) that single passages of `titles` answer."""
        pool = []
        for title in titles:
            part = self.world.passages[title].part
            pool += [(q, hop, hop.answer) for q, hop in self.makers[part].one_hop(title)]
        asked: list[tuple[str, WorldHop | None, str]] = list(
            self.rng.sample(pool, min(count, len(pool)))
        )
        return [self._years() if self.rng.random() < YEAR_QUESTIONS else item for item in asked]

    def _years(self) -> tuple[str, None, str]:
        a, b = sorted(self.rng.sample(range(1900, 2000), 2))
        first = self.rng.random() < 0.5
        one, other = (a, b) if self.rng.random() < 0.5 else (b, a)
        word = "first" if first else "later"
        return f"Which year was {word}, {one} or {other}?", None, str(a if first else b)

    def reply(self, hop: WorldHop | None, answer: str) -> str:
        """The sentence that holds the answer, where there is one, and the answer."""
        final = f"So the answer is: {answer}."
        return final if hop is None else f"{hop.rationale} {final}"

    def simple(self, title: str) -> Passage:
        """The facts of a passage in the words of rationales, each with its subject beside it."""
        maker = self.makers[self.world.passages[title].part]
        facts = [hop.rationale for _, hop in maker.one_hop(title)]
        self.rng.shuffle(facts)
        return Passage(id=title, title=title, text=" ".join(facts))

    def conversation(
        self, size: int, questions: int, alike: bool = False, simple: bool = False
    ) -> Conversation:
        """Questions in a row about `size` passages, in one of the two layouts."""
        titles = self.context(size, alike)
        asked = self.ask(titles, questions)
        passages = tuple(self.simple(t) if simple else self.passages[t] for t in titles)
        settings = self.rng.choice((PASSAGES_FIRST, APPEND_ONLY))
        talk: Conversation = []
        for number, (question, hop, answer) in enumerate(asked):
            turn = Turn(passages if number == 0 else ())
            talk += _messages("ircot", question, [turn], settings)
            talk.append({"role": "assistant", "content": self.reply(hop, answer)})
        return talk


class Tutor(Reader):
    """Gold multi-step trajectories over the passages that BM25 finds, besides single questions."""

    def __init__(self, world: World, rng: random.Random) -> None:
        super().__init__(world, rng)
        self.index = TitleIndex(self.passages)
        self.questions = [q for part in world.questions.values() for q in part]
        rng.shuffle(self.questions)
        self.compared = [q for q in self.questions if "comparison" in q.type]
        self.retrieved = {
            name: self._retrieve(name, [self._queries(name, q) for q in self.questions])
            for name in ("ircot", "self_ask")
        }

    @staticmethod
    def _queries(name: str, question: WorldQuestion) -> list[str]:
        later = [
            without_wh_words(h.rationale) if name == "ircot" else h.sub_question
            for h in question.hops
        ]
        return [question.question, *later]

    def _retrieve(self, name: str, queries: list[list[str]]) -> list[list[tuple[Passage, ...]]]:
        found = iter(self.index.search([q for group in queries for q in group], K))
        all_steps = []
        for group in queries:
            kept: list[str] = []
            steps = []
            for _ in group:
                new = [t for t in next(found) if t not in kept][: CAP - len(kept)]
                kept += new
                steps.append(tuple(self.passages[t] for t in new))
            all_steps.append(steps)
        return all_steps

    def trajectory(self, number: int, name: str) -> list[Turn] | None:
        """The gold trajectory as turns, or None where a passage comes too late to be followed."""
        question = self.questions[number]
        arrived = self.retrieved[name][number]
        titles = [[p.title for p in step] for step in arrived]
        pieces = gold_steps(question, name)
        if name != "ircot":  # the first piece only asks; a hop is answered one search later
            titles = [titles[0] + titles[1], *titles[2:]]
        if not is_followable(question, titles):
            return None
        return [Turn(p, r) for p, r in zip(arrived, pieces, strict=True)]

    def appended(self, number: int, name: str) -> Conversation | None:
        """A whole trajectory as turns of one chat."""
        turns = self.trajectory(number, name)
        if turns is None:
            return None
        question = self.questions[number].question
        talk = _messages(name, question, turns, APPEND_ONLY)
        return [*talk, {"role": "assistant", "content": turns[-1].rationale}]

    def steps(self, number: int, name: str, extra: int, comparisons: int) -> Conversation | None:
        """Steps of one trajectory over the passages of its latest step, in mixed order.

        The first step asked is the latest: its prompt is exactly that of inference. `extra`
        single questions about the same passages follow, and the last steps of `comparisons`
        other questions, all facts told.
        """
        turns = self.trajectory(number, name)
        if turns is None:
            return None
        question = self.questions[number].question
        last = self.rng.randrange(len(turns))
        talk = _messages(name, question, turns[: last + 1], PASSAGES_FIRST)
        talk.append({"role": "assistant", "content": turns[last].rationale})
        more: list[Conversation] = []
        for step in range(last):
            bare = [Turn((), t.rationale) for t in turns[: step + 1]]
            prompt = _messages(name, question, bare, PASSAGES_FIRST)
            reply = {"role": "assistant", "content": turns[step].rationale}
            more.append([*prompt, reply])
        titles = [p.title for turn in turns[: last + 1] for p in turn.passages]
        for asked, hop, answer in self.ask(titles, extra):
            prompt = _messages("ircot", asked, [Turn()], PASSAGES_FIRST)
            more.append([*prompt, {"role": "assistant", "content": self.reply(hop, answer)}])
        more += self._last_steps(comparisons)
        self.rng.shuffle(more)
        return talk + [message for part in more for message in part]

    def drill(self, comparisons: int) -> Conversation:
        """The last steps of so many comparisons, all facts told and no passage shown."""
        return [message for part in self._last_steps(comparisons) for message in part]

    def _last_steps(self, comparisons: int) -> list[Conversation]:
        parts = []
        for question in self.rng.sample(self.compared, comparisons):
            pieces = gold_steps(question, "ircot")
            told = [Turn((), piece) for piece in pieces]
            prompt = _messages("ircot", question.question, told, PASSAGES_FIRST)
            parts.append([*prompt, {"role": "assistant", "content": pieces[-1]}])
        return parts


def new_world(seed: int, domain: str, questions: int) -> World:
    """A world for training; `questions` for each part."""
    return make_world(seed, domain, dict.fromkeys(("train", "dev", "test"), questions))
