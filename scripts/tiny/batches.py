"""From conversations to padded batches, chunk by chunk and in a fixed order.

A *chunk* is a pool of conversations about freshly generated worlds; its batches depend on the
settings and the chunk's number alone, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from steper.data.world.names import PARTS
from tiny.text import Conversation, Reader, Tutor, new_world

FIRST_SEED = 1_000_000
"""Worlds of pretraining have seeds from here on; experiments use smaller ones."""

DRILL = 12
"""Comparisons in a drill."""

DENSE_PASSAGE_WEIGHT = 0.5
"""Loss weight of a token that is not in an assistant's turn, in dense chunks."""


@dataclass(frozen=True)
class Mixture:
    """What a chunk holds.

    `reading` is the share of single-question conversations, `ood` that of the second domain;
    `passages` is the loss weight of a token that is not in an assistant's turn. From chunk
    `comparisons_from` on, `comparisons` last steps of other questions stand in a conversation of
    steps: comparing is learnt last, and there is one such step in a trajectory at most. From chunk
    `drills_from` on, the share `drills` of all conversations holds nothing else.
    """

    seed: int
    pool: int = 160
    tokens: int = 4096
    reading: float = 1.0
    ood: float = 0.35
    passages: float = 0.2
    self_ask: float = 0.3
    append_only: float = 0.4
    dense_chunks: int = 20
    few_names: tuple[int, int] = (0, 0)
    comparisons: int = 0
    comparisons_from: int = 0
    drills: float = 0.0
    drills_from: int = 0


@dataclass(frozen=True)
class Batch:
    """Ids (B, T), loss weights (B, T) and marks (B, T): 1 a looked-up token, 2 a final answer."""

    chunk: int
    ids: np.ndarray
    weights: np.ndarray
    marks: np.ndarray
    sha: str = ""


class Encoder:
    """Conversations to ids, weights and marks."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        ids = tokenizer.convert_tokens_to_ids
        self.user, self.assistant = ids("<|user|>"), ids("<|assistant|>")
        self.end, self.pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self.stops = {i for t, i in tokenizer.get_vocab().items() if t.startswith((".", "Ċ"))}
        self.so = ids("So")
        vocab = tokenizer.get_vocab()
        self.news = {i for t, i in vocab.items() if t.strip("Ġ").isdigit() and len(t) >= 4}
        self.news |= {i for i in vocab.values() if i > max(self.user, self.assistant)}

    def encode(
        self, talks: list[Conversation], passage_weight: float
    ) -> list[tuple[np.ndarray, ...]]:
        """Ids, weights and marks of each conversation."""
        texts = [self.tokenizer.apply_chat_template(t, tokenize=False) for t in talks]
        backend = self.tokenizer.backend_tokenizer
        return [
            self._mark(e.ids, passage_weight)
            for e in backend.encode_batch(texts, add_special_tokens=False)
        ]

    def _mark(self, ids: list[int], passage_weight: float) -> tuple[np.ndarray, ...]:
        weights = np.full(len(ids), passage_weight, dtype=np.float32)
        marks = np.zeros(len(ids), dtype=np.int8)
        start = -1
        seen: set[int] = set()
        for position, token in enumerate(ids):
            if token in self.news and token not in seen:
                seen.add(token)
                weights[position] = 0.0  # nothing before it tells what it is
            if token == self.assistant:
                start = position + 2
            elif token == self.end and start >= 0:
                weights[start : position + 1] = 1.0
                looked_up = next(
                    (i for i in range(start, position + 1) if ids[i] in self.stops), position
                )
                marks[looked_up - 1] = 1
                if ids[start] == self.so:
                    marks[looked_up - 1] = 2
                    for place in range(start, looked_up):  # what a comparison says of its facts
                        if ids[place] in self.news:
                            marks[place] = 2
                start = -1
        return np.asarray(ids, dtype=np.int32), weights, marks


def passages_for(mix: Mixture, chunk: int, rng: random.Random) -> tuple[int, int, bool, bool]:
    """Passages and questions of a conversation, and whether its passages are of one type and
    written simply, each fact with its subject beside it.

    The first chunks are dense: short contexts in which often only the subject tells which passage
    holds the answer, with many questions each.
    """
    if chunk < mix.dense_chunks:
        return rng.randint(1, 6), 12, rng.random() < 0.6, rng.random() < 0.3
    size = rng.choice((1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8, 10, 12, 15, 20))
    return size, 12, rng.random() < 0.3, False


def chunk_talks(mix: Mixture, chunk: int) -> list[Conversation]:
    """The conversations of a chunk."""
    rng = random.Random(f"{mix.seed}/{chunk}")
    talks: list[Conversation] = []
    reading = 1.0 if chunk < mix.dense_chunks else mix.reading
    drills = mix.drills if chunk >= mix.drills_from else 0.0
    comparisons = mix.comparisons if chunk >= mix.comparisons_from else 0
    for domain, share in (("culture", 1 - mix.ood), ("ood", mix.ood)):
        seed = FIRST_SEED + mix.seed * 100_000 + chunk
        count = round(mix.pool * share)
        if reading == 1.0:
            few = mix.few_names[0] <= chunk < mix.few_names[1]
            parts = ("dev",) if few else tuple(PARTS)
            reader: Reader = Reader(new_world(seed, domain, 0), rng, parts)
        else:
            reader = Tutor(new_world(seed, domain, count), rng)
        for number in range(count):
            talk = None
            if isinstance(reader, Tutor) and drills and rng.random() < drills:
                talk = reader.drill(DRILL)
            elif isinstance(reader, Tutor) and rng.random() >= reading:
                name = "self_ask" if rng.random() < mix.self_ask else "ircot"
                if rng.random() < mix.append_only:
                    talk = reader.appended(number, name)
                else:
                    talk = reader.steps(number, name, 3, comparisons)
            talks.append(talk or reader.conversation(*passages_for(mix, chunk, rng)))
    return talks


def batches(mix: Mixture, encoder: Encoder, chunk: int) -> Iterator[Batch]:
    """Batches from chunk number `chunk` on, for ever."""
    while True:
        weight = DENSE_PASSAGE_WEIGHT if chunk < mix.dense_chunks else mix.passages
        rows = sorted(encoder.encode(chunk_talks(mix, chunk), weight), key=lambda row: len(row[0]))
        groups: list[list[tuple[np.ndarray, ...]]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > mix.tokens:
                groups.append([])
            groups[-1].append(row)
        random.Random(f"{mix.seed}/{chunk}/order").shuffle(groups)
        sha = hashlib.sha256(b"".join(row[0].tobytes() for row in rows)).hexdigest()
        for group in groups:
            yield _pad(group, chunk, encoder.pad, sha)
        chunk += 1


def _pad(group: list[tuple[np.ndarray, ...]], chunk: int, pad: int, sha: str) -> Batch:
    shape = (len(group), max(len(row[0]) for row in group))
    ids = np.full(shape, pad, dtype=np.int64)
    weights = np.zeros(shape, dtype=np.float32)
    marks = np.zeros(shape, dtype=np.int8)
    for i, (row_ids, row_weights, row_marks) in enumerate(group):
        ids[i, : len(row_ids)] = row_ids
        weights[i, : len(row_ids)] = row_weights
        marks[i, : len(row_ids)] = row_marks
    return Batch(chunk, ids, weights, marks, sha)
