"""Self-Ask (Press et al., Findings of EMNLP 2023): the follow-up question is the next query."""

from steper.strategy.self_ask.strategy import SelfAsk, SelfAskSettings

__all__ = ["SelfAsk", "SelfAskSettings"]
