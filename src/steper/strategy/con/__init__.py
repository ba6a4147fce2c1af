"""Chain-of-Note (Yu et al., EMNLP 2024): a note on each passage, then the answer."""

from steper.strategy.con.strategy import ChainOfNote

__all__ = ["ChainOfNote"]
