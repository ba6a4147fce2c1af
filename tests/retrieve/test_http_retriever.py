"""The client against a real server on this machine that speaks Search-R1's protocol."""

import gzip
import json
import math
import sys
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from doubles import film_questions, film_script
from steper.errors import InputError, RetrievalError, SettingsError
from steper.lm.base import FatalModelError
from steper.lm.scripted import ScriptedModel
from steper.records import Passage, passage_id
from steper.retrieve import HttpRetriever, HttpSettings
from steper.runs import teach
from steper.store import dump_line

DOVER = {"id": "7", "contents": '"Dover"\nDover is a town.\nAnd a port.'}
QUICK = HttpSettings(attempts=1)
REPLY = {"result": [[{"document": DOVER, "score": 1.5}]]}


class Server(ThreadingHTTPServer):
    """Answers with what `replies` holds, in turn; the last again and again.

    A reply is a JSON value, (status, headers, text), or "reset": the connection is cut. `drips`
    are the seconds after each byte of it.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = [REPLY]
        self.asked = []
        self.drips = 0.0

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the client gave up first
            super().handle_error(request, client_address)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.asked.append((self.path, body))
        replies = server.replies
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if callable(reply):
            reply = reply(body)
        if reply == "reset":
            self.close_connection = True
            return
        status, headers, text = reply if isinstance(reply, tuple) else (200, {}, json.dumps(reply))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        data = text.encode("latin-1" if "Content-Encoding" in headers else "utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for part in [data[i : i + 1] for i in range(len(data))] if server.drips else [data]:
            self.wfile.write(part)
            time.sleep(server.drips)

    def log_message(self, *args):
        pass


@contextmanager
def serving():
    """A server at work."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def slept():
    return []


@pytest.fixture
def retriever(server, slept):
    retriever = HttpRetriever(server.url, HttpSettings(timeout_s=5), sleep=slept.append)
    yield retriever
    retriever.close()


def test_the_request_is_search_r1s(server, retriever):
    found = retriever.search(["Where is Dover?"], 3)
    assert server.asked == [
        ("/retrieve", {"queries": ["Where is Dover?"], "topk": 3, "return_scores": True})
    ]
    assert [(hit.passage.id, hit.passage.title, hit.score) for hit in found[0]] == [
        ("7", "Dover", 1.5)
    ]
    assert found[0][0].passage.text == "Dover is a town.\nAnd a port."


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (DOVER, ("7", "Dover", "Dover is a town.\nAnd a port.", 1.0)),
        ({"document": DOVER}, ("7", "Dover", "Dover is a town.\nAnd a port.", 1.0)),
        ({"document": {"id": 7, "contents": "A\nB"}, "score": -2}, ("7", "A", "B", -2.0)),
        (
            {"document": {"id": 0, "title": "A", "text": "B", "contents": '"A"\nB'}, "score": 1},
            ("0", "A", "B", 1.0),
        ),
        (
            {"document": {"contents": "A\nB"}, "score": 1},
            (passage_id("A", "B"), "A", "B", 1.0),
        ),
        ({"id": "x", "contents": "no title here"}, ("x", "", "no title here", 1.0)),
        ({"id": "x", "title": "A", "contents": "B"}, ("x", "A", "B", 1.0)),
        ({"id": "x", "title": None, "text": "B"}, ("x", "", "B", 1.0)),
        ({"id": "x", "title": "", "text": " ", "contents": "A\nB"}, ("x", "A", "B", 1.0)),
        (
            {"id": "x", "contents": '""Heroes" (album)"\nB'},
            ("x", '"Heroes" (album)', "B", 1.0),
        ),
        (
            {"id": "x", "contents": '"Weird Al" Yankovic\nB'},
            ("x", '"Weird Al" Yankovic', "B", 1.0),
        ),
    ],
)
def test_all_shapes_of_documents_are_read(server, retriever, item, expected):
    server.replies = [{"result": [[item]]}]
    (hit,) = retriever.search(["q"], 1)[0]
    assert (hit.passage.id, hit.passage.title, hit.passage.text, hit.score) == expected


def test_half_a_character_becomes_one_that_files_can_hold(server, retriever):
    text = (
        '{"result": [[{"id": "\\ude00", "title": "T\\ud800", "text": "x\\ud83d y\\ud83d\\ude00"}]]}'
    )
    server.replies = [(200, {}, text)]
    (hit,) = retriever.search(["q"], 1)[0]
    assert hit.passage == Passage(id="�", title="T�", text="x� y😀")
    assert dump_line(hit.passage)


def test_passages_without_text_are_skipped_and_counted(server, caplog):
    blank = [{"id": 1, "contents": '"T"\n'}, {"id": 2, "title": "U", "text": ""}]
    server.replies = [{"result": [[*blank, DOVER, {"id": 3, "title": "V", "text": " "}]]}]
    retriever = HttpRetriever(server.url)
    for _ in range(2):
        assert [(f.passage.id, f.score) for f in retriever.search(["q"], 4)[0]] == [("7", 1 / 3)]
    retriever.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url}/retrieve: 6 passages without text were skipped"
    ]


def test_without_scores_the_rank_decides(server, retriever):
    server.replies = [{"result": [[DOVER, {**DOVER, "id": 8}, {**DOVER, "id": 9}], []]}]
    found = retriever.search(["one", "two"], 2)
    assert [(hit.passage.id, hit.score) for hit in found[0]] == [("7", 1.0), ("8", 0.5)]
    assert found[1] == []


def test_queries_go_in_batches(server):
    def reply(body):
        return {"result": [[{"id": query, "contents": "A\nB"}] for query in body["queries"]]}

    server.replies = [reply]
    retriever = HttpRetriever(server.url + "/retrieve", HttpSettings(batch_size=2))
    found = retriever.search(["a", "b", "c", "d", "e"], 1)
    assert [hits[0].passage.id for hits in found] == ["a", "b", "c", "d", "e"]
    assert [len(body["queries"]) for _, body in server.asked] == [2, 2, 1]
    assert retriever.search([], 1) == []
    retriever.close()


def test_a_path_of_its_own_is_kept(server):
    retriever = HttpRetriever(server.url + "/v2/search")
    retriever.search(["q"], 1)
    assert server.asked[0][0] == "/v2/search"
    assert retriever.fingerprint() == {"kind": "http", "url": server.url + "/v2/search"}
    retriever.close()


def test_the_servers_own_faults_are_tried_again(server, retriever, slept):
    server.replies = [(500, {}, "boom"), (503, {}, ""), (429, {}, ""), "reset", REPLY]
    assert retriever.search(["q"], 1)[0][0].passage.id == "7"
    assert slept == [0.5, 1.0, 2.0, 4.0]


def test_retry_after_is_honoured(server, retriever, slept):
    server.replies = [
        (429, {"Retry-After": "7"}, ""),
        (503, {"Retry-After": formatdate(0, usegmt=True)}, ""),
        (503, {"Retry-After": "soon"}, ""),
        REPLY,
    ]
    retriever.search(["q"], 1)
    assert slept == [7.0, 0.0, 2.0]


def test_a_longer_wait_than_allowed_is_an_error(server, retriever, slept):
    server.replies = [(429, {"Retry-After": "3600"}, "")]
    with pytest.raises(RetrievalError, match="the server asks to wait 3600 s, more than max_wait"):
        retriever.search(["q"], 1)
    assert slept == []


def test_giving_up_says_what_the_server_says(server, retriever, slept):
    server.replies = [(500, {}, "out of\nmemory")]
    with pytest.raises(RetrievalError, match="answers 500 Internal Server Error: 'out of memory'"):
        retriever.search(["q"], 1)
    assert len(server.asked) == 5
    assert len(slept) == 4


def test_a_refusal_is_not_tried_again(server, retriever):
    server.replies = [(404, {}, '{"detail":"Not Found"}')]
    with pytest.raises(RetrievalError, match="/retrieve: the server answers 404 Not Found"):
        retriever.search(["q"], 1)
    assert len(server.asked) == 1


def test_a_server_that_is_down_is_one_clear_line(server, slept):
    retriever = HttpRetriever("http://127.0.0.1:9", HttpSettings(attempts=3), sleep=slept.append)
    with pytest.raises(RetrievalError) as raised:
        retriever.search(["q"], 1)
    assert str(raised.value).startswith("http://127.0.0.1:9/retrieve: no answer after 3 tries (")
    assert "is the retrieval server running" in str(raised.value)
    assert len(slept) == 2
    retriever.close()


def test_a_server_that_hangs_is_given_up(server):
    blocked = threading.Event()
    server.replies = [lambda body: blocked.wait(5) and REPLY]
    retriever = HttpRetriever(server.url, HttpSettings(timeout_s=0.1, attempts=1))
    with pytest.raises(RetrievalError, match=r"no answer after 1 tries \(.*timed out"):
        retriever.search(["q"], 1)
    blocked.set()
    retriever.close()


def test_a_server_that_drips_is_given_up(server):
    server.drips = 0.05
    retriever = HttpRetriever(server.url, HttpSettings(timeout_s=0.3, attempts=1))
    with pytest.raises(RetrievalError, match=r"timed out: its answer was not whole after 0\.3 s"):
        retriever.search(["q"], 1)
    retriever.close()


def test_a_gzipped_answer_is_read(server, retriever):
    zipped = gzip.compress(json.dumps(REPLY).encode()).decode("latin-1")
    server.replies = [(200, {"Content-Encoding": "gzip"}, zipped)]
    assert retriever.search(["q"], 1)[0][0].passage.id == "7"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, {}, "<html>hello</html>"), "the reply is not JSON but '<html>hello</html>'"),
        ({"answer": 1}, "reply is {'answer': 1}, an object with a list \"result\" was expected"),
        ([], "reply is []"),
        ({"result": []}, "reply.result is 0 of them, 1 lists, one a query was expected"),
        ({"result": ["x"]}, "reply.result[0] is x, a list was expected"),
        ({"result": [["x"]]}, "reply.result[0][0] is x, a document was expected"),
        ({"result": [[{"document": None}]]}, "reply.result[0][0] is None, a document"),
        ({"result": [[{"id": 1}]]}, 'a document with "contents", or "title" and "text" was'),
        ({"result": [[{"document": DOVER, "score": "high"}]]}, "[0][0].score is high, a finite"),
        ({"result": [[{"document": DOVER, "score": math.nan}]]}, "score is nan, a finite number"),
        ({"result": [[{"document": DOVER, "score": -math.inf}]]}, "[0][0].score is -inf, a finite"),
        ({"result": [[{"document": DOVER, "score": 10**400}]]}, "[0][0].score is 1000"),
        ({"result": [[{"id": [1], "contents": ""}]]}, "[0][0].id is [1], a string or a whole"),
    ],
)
def test_another_shape_of_reply_is_named(server, retriever, reply, message):
    server.replies = [reply]
    with pytest.raises(RetrievalError) as raised:
        retriever.search(["q"], 1)
    assert message in str(raised.value)
    assert str(raised.value).endswith("is this a Search-R1 retrieval server?")
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://host:port", ""])
def test_other_addresses_are_refused(url):
    with pytest.raises(InputError, match="is not a web address"):
        HttpRetriever(url)


def test_less_than_one_passage_is_refused(retriever):
    with pytest.raises(InputError, match="k is 0"):
        retriever.search(["q"], 0)


def known_by(url, settings=QUICK):
    retriever = HttpRetriever(url, settings)
    try:
        return retriever.fingerprint()
    finally:
        retriever.close()


def test_a_corpus_that_the_server_reports_is_what_a_run_is_known_by(server):
    server.replies = [{**REPLY, "corpus": "sha256:12"}]
    assert known_by(server.url) == {"kind": "http", "corpus": "sha256:12"}
    assert known_by(server.url + "/elsewhere") == {"kind": "http", "corpus": "sha256:12"}


def test_a_corpus_that_is_stated_is_not_asked_for(server):
    stated = {"kind": "http", "corpus": "wiki-18"}
    assert known_by(server.url + "#wiki-18") == stated
    assert known_by("http://localhost:1/search#wiki-18") == stated  # where nobody is
    assert known_by(server.url, HttpSettings(corpus="wiki-18")) == stated
    assert not server.asked
    with pytest.raises(InputError, match="says that the corpus is 'a', the settings that it is"):
        HttpRetriever(server.url + "#a", HttpSettings(corpus="b"))


def test_what_is_stated_is_not_sent_to_the_server(server):
    retriever = HttpRetriever(server.url + "#wiki-18")
    assert retriever.url == server.url + "/retrieve"
    retriever.search(["q"], 1)
    assert server.asked[0][0] == "/retrieve"
    retriever.close()


def test_a_server_that_says_nothing_is_known_by_its_address_and_a_line_says_so(server, caplog):
    assert known_by(server.url) == {"kind": "http", "url": server.url + "/retrieve"}
    assert "state a name behind it to move the server" in caplog.text


@pytest.mark.parametrize("address", ["#wiki-18", ""])
def test_a_server_of_another_corpus_is_refused(server, address):
    server.replies = [{**REPLY, "corpus": "wiki-18"}, {**REPLY, "corpus": "wiki-25"}]
    retriever = HttpRetriever(server.url + address)
    retriever.search(["q"], 1)
    was = "stated" if address else "searched before"
    with pytest.raises(RetrievalError, match=f"corpus 'wiki-25', but 'wiki-18' was {was}"):
        retriever.search(["q"], 1)
    assert retriever.fingerprint() == {"kind": "http", "corpus": "wiki-18"}
    retriever.close()


def test_a_run_goes_on_with_a_server_elsewhere(server, tmp_path):
    asked = []

    def say(request):
        asked.append(request.step)
        return FatalModelError("no money") if len(asked) == 4 else film_script(request)

    def run(address, said):
        retriever = HttpRetriever(address)
        try:
            model = ScriptedModel(said, identity="film")
            return teach(film_questions(2), "ircot", model, retriever, tmp_path / "r", in_flight=1)
        finally:
            retriever.close()

    server.replies = [lambda body: {"result": REPLY["result"] * len(body["queries"])}]
    with pytest.raises(FatalModelError):
        run(server.url + "#dover", say)
    with pytest.raises(SettingsError, match=r'retriever.corpus is "dover" there, "calais" now'):
        run(server.url + "/new#calais", film_script)
    done = run(server.url + "/new#dover", film_script)
    assert done.manifest["counts"]["questions"] == 2
    assert done.manifest["settings"]["retriever"] == {"kind": "http", "corpus": "dover"}
