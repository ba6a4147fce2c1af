"""Settings of the BM25 index and of the HTTP client: each default stands here and nowhere else."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BM25Settings(BaseModel):
    """All that decides which terms an index holds and what a match is worth.

    Defaults are those of IRCoT's authors: Elasticsearch 7.10's `english` analyzer and BM25, a match
    on title plus a match on text with equal weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k1: float = Field(
        1.2, ge=0, allow_inf_nan=False, description="BM25: how slowly repeats of a term saturate"
    )
    b: float = Field(
        0.75, ge=0, le=1, description="BM25: how much long passages are held back (0: not at all)"
    )
    fields: Literal["separate", "title+text"] = Field(
        "separate",
        description="separate: title and text are scored each by itself and summed (IRCoT's); "
        "title+text: they are one field",
    )
    stopwords: Literal["lucene", "none"] = Field(
        "lucene", description="words left out: lucene's 33 English ones, or none"
    )
    stemmer: Literal["porter", "english", "none"] = Field(
        "porter",
        description="porter: as Elasticsearch's english analyzer; english: Snowball's newer one",
    )


class HttpSettings(BaseModel):
    """What the HTTP retriever's server searches, and how patient it is with the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: str = Field(
        "",
        description="name or digest of the corpus that the server searches, where the server does "
        "not report it: what a run is known by, not the address; an address may end in it "
        "(http://HOST:PORT#NAME)",
    )

    timeout_s: float = Field(60.0, gt=0, description="seconds to wait for the whole answer")
    connect_timeout_s: float = Field(10.0, gt=0, description="seconds to wait for a connection")
    attempts: int = Field(5, ge=1, description="tries in all before giving up")
    backoff_s: float = Field(0.5, ge=0, description="wait after the first failure; then doubled")
    max_wait_s: float = Field(
        60.0, ge=0, description="longest wait between tries; a server that asks for more is down"
    )
    batch_size: int = Field(128, ge=1, description="queries in one request, at the most")
