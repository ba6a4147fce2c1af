"""`steper search`: look into an index by hand."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

from cyclopts import Parameter
from rich.padding import Padding
from rich.text import Text

from steper.cli.terminal import plain_console

SNIPPET = 300


def search(
    index: str,
    query: str,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 4,
) -> None:
    """Show the passages that a query finds, best first.

    Parameters
    ----------
    index
        Folder of an index, or http(s):// address of a retrieval server.
    query
        What to search for.
    k
        How many passages, at the most.
    """
    from steper.retrieve.opening import open_retriever
    from steper.text import snippet, without_surrogates

    console = plain_console()
    with closing(open_retriever(index)) as retriever:
        found = retriever.search([without_surrogates(query)], k)[0]
    if not found:
        console.print("no passage shares a word with this query")
    for rank, hit in enumerate(found, start=1):
        score = (f"{hit.score:10.3f}  ", "cyan")
        console.print(Text.assemble((f"{rank:>2}", "bold"), score, (hit.passage.title, "bold")))
        text = Text(snippet(hit.passage.text, SNIPPET))
        console.print(Padding(text, (0, 0, 0, 14), expand=False))
