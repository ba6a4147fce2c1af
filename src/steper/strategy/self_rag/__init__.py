"""Self-RAG (Asai et al., ICLR 2024): retrieve where needed, read one passage, judge the text."""

from steper.strategy.self_rag.strategy import SelfRag

__all__ = ["SelfRag"]
