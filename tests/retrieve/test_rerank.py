"""A student's reranker, named in its folder: candidates first, then the best of them."""

import json

import pytest

from doubles import FILM, DictRetriever
from steper.errors import SettingsError
from steper.retrieve.rerank import Reranked, reranked
from steper.student import student_retriever

QUERY = "Who is Ann Lee of Gold Rain, and where is Oslo?"


class Backwards:
    """Puts the last first."""

    def rerank(self, query, found):
        return list(reversed(found))

    def fingerprint(self):
        return {"kind": "backwards"}


def titles(retriever, k):
    return [found.passage.title for found in retriever.search([QUERY], k)[0]]


def test_the_best_of_the_candidates_are_found():
    plain = DictRetriever(FILM)
    assert titles(plain, 2) == ["Gold Rain", "Ann Lee"]
    assert titles(Reranked(plain, Backwards(), 3), 2) == ["Oslo", "Ann Lee"]
    assert titles(Reranked(plain, Backwards(), 1), 2) == ["Ann Lee", "Gold Rain"]


def test_a_folder_names_code_that_is_loaded_only_where_that_is_allowed(tmp_path):
    card = {"form": "plain", "strategy": {"name": "ircot"}, "prompt": {"layout": "append_only"}}
    card |= {"reranker": f"{__name__}:Backwards", "candidates": 3}
    (tmp_path / "steper.json").write_text(json.dumps(card))
    with pytest.raises(SettingsError, match=r"names the reranker .* --allow-code"):
        student_retriever(tmp_path, DictRetriever(FILM))
    found = student_retriever(tmp_path, DictRetriever(FILM), allow_code=True)
    assert titles(found, 1) == ["Oslo"]
    print_of = found.fingerprint()
    assert print_of["candidates"] == 3
    assert print_of["reranker"]["code"]


def test_other_models_search_as_they_did(tmp_path):
    plain = DictRetriever(FILM)
    assert student_retriever("gold", plain) is plain
    assert reranked(plain, "", 20) is plain
