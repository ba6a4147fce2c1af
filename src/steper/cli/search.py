"""`steper search`: look into an index by hand."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

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
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from steper.retrieve.opening import open_retriever
    from steper.text import snippet

    console = Console()
    retriever = open_retriever(index)
    try:
        found = retriever.search([query], k)[0]
    finally:
        retriever.close()
    if not found:
        console.print("no passage shares a word with this query")
        return
    for rank, hit in enumerate(found, start=1):
        head = Text.assemble(
            (f"{rank:>2}", "bold"), (f"{hit.score:10.3f}  ", "cyan"), (hit.passage.title, "bold")
        )
        console.print(head)
        console.print(
            Padding(Text(snippet(hit.passage.text, SNIPPET)), (0, 0, 0, 14), expand=False)
        )
