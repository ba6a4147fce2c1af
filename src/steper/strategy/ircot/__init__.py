"""IRCoT: interleaved retrieval and chain of thought (Trivedi et al., ACL 2023)."""

from steper.strategy.ircot.strategy import IRCoT, IRCoTSettings

__all__ = ["IRCoT", "IRCoTSettings"]
