"""Retrievers: a BM25 index in this process, or a server that speaks Search-R1's protocol."""

from steper.retrieve.base import Found, Retriever
from steper.retrieve.bm25 import BM25Index
from steper.retrieve.http import HttpRetriever
from steper.retrieve.opening import open_retriever
from steper.retrieve.retriever_settings import BM25Settings, HttpSettings

__all__ = [
    "BM25Index",
    "BM25Settings",
    "Found",
    "HttpRetriever",
    "HttpSettings",
    "Retriever",
    "open_retriever",
]
