"""Arrays read item by item are those that are read whole."""

import io
import json
import random

import orjson
import pytest

from steper.data.json_array import read_array
from steper.errors import InputError

VALUES = [
    {"text": 'a "quoted" [bracket', "inner": [{"x": []}, "}]", {}]},
    {"back": "\\", "both": '\\"', "umlaut": "ä€", "escaped\n": None},
    [],
    [[1, [2.5e3]], {}],
    "a, b]",
    -12.5,
    True,
    None,
    {},
]


def read(text):
    return list(read_array("a.json", io.BytesIO(text)))


@pytest.mark.parametrize("indent", [None, 2])
def test_items_are_those_of_the_whole(indent):
    for count in range(len(VALUES) + 1):
        for escaped in (True, False):
            text = json.dumps(VALUES[:count], ensure_ascii=escaped, indent=indent)
            assert read(f" \n{text}\n ".encode()) == VALUES[:count]
    assert read(b"\xef\xbb\xbf[1,2 , 3]") == [1, 2, 3]
    assert read('["\\ud834\\udd1e 𝄞"]'.encode()) == ["𝄞 𝄞"]
    assert read(b"[1, 123456789012345678901234567890, 3]") == [1, 1.2345678901234568e29, 3]


def test_what_is_refused_whole_is_refused():
    rng, text = random.Random(0), json.dumps(VALUES, indent=1).encode()
    refused = 0
    for _ in range(400):
        at, put = rng.randrange(len(text)), rng.choice([b"", b'"', b"]", b"{", b",", b"\\", b"x"])
        broken = text[:at] + put + text[at + rng.randrange(2) :]
        try:
            whole = orjson.loads(broken)
        except orjson.JSONDecodeError:
            refused += 1
            with pytest.raises(InputError, match=r"^a\.json, line \d+, column \d+: not JSON \("):
                read(broken)
        else:
            assert read(broken) == whole
    assert refused > 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[{"a": 1},\n {"b": }]',
            "line 2, column 8: not JSON (unexpected character, expected a JSON value)",
        ),
        ('[{"a": 1},\n]', "line 1, column 10: not JSON (trailing comma is not allowed)"),
        ('[{"a": 1}', "line 1, column 10: not JSON (unexpected end of data)"),
        ("[1] 2", "line 1, column 5: not JSON (unexpected content after document)"),
    ],
)
def test_errors_name_the_place(text, said):
    with pytest.raises(InputError) as caught:
        read(text.encode())
    assert str(caught.value) == f"a.json, {said}"


def test_a_piece_at_a_time_is_held():
    file = io.BytesIO(json.dumps(["x" * 50] * 100_000).encode())
    items = read_array("a.json", file)
    next(items)
    assert file.tell() < 100_000
