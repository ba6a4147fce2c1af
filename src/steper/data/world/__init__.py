"""The small world: a generated encyclopedia with multi-hop questions (see `generate`)."""

from steper.data.world.generate import DEFAULT_COUNTS, DOMAINS, World, make_world, write_world
from steper.data.world.measure import Recall, measure_recall
from steper.data.world.names import inventory
from steper.data.world.world_questions import WorldHop, WorldQuestion

__all__ = [
    "DEFAULT_COUNTS",
    "DOMAINS",
    "Recall",
    "World",
    "WorldHop",
    "WorldQuestion",
    "inventory",
    "make_world",
    "measure_recall",
    "write_world",
]
