import subprocess
import sys

import pytest

from steper.errors import InputError
from steper.retrieve import BM25Index, HttpRetriever, open_retriever


def test_a_folder_is_an_index(saved):
    for spec in (saved, str(saved)):
        retriever = open_retriever(spec, n_threads=3)
        assert isinstance(retriever, BM25Index)
        assert retriever.n_threads == 3
        assert retriever.search(["Leeds"], 1)[0][0].passage.id == "p4"
        retriever.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "HTTPS://host/retrieve"])
def test_an_address_is_a_server(url):
    retriever = open_retriever(url)
    assert isinstance(retriever, HttpRetriever)
    retriever.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no index is named"),
        ("ftp://host/index", "ftp:// is not known; name an index folder or an http"),
        ("no/such/index", "no/such/index: no such index; make one with: steper index --corpus"),
    ],
)
def test_anything_else_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        open_retriever(spec)


def test_importing_is_cheap():
    code = (
        "import sys, steper.retrieve; "
        "print([m for m in ('bm25s', 'Stemmer', 'httpx', 'tenacity', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
