"""SAIL (Luo et al., 2023): say which search results inform and which distract, then answer."""

from steper.strategy.sail.strategy import Sail

__all__ = ["Sail"]
