"""Do all tasks of a list that are not done, one after the other or side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from steper.pipeline.places import Jobs, find_places
from steper.pipeline.plan import (
    Advance,
    PlannedTask,
    Stage,
    Stamps,
    Task,
    check_plan,
    make_plan,
    stages_left,
)
from steper.pipeline.side_by_side import Room, SideBySide
from steper.pipeline.watching import Clerk, Watcher, do
from steper.pipeline.workspace import Workspace


def do_tasks(
    tasks: Sequence[Task],
    workspace: Workspace,
    jobs: Jobs,
    ray_address: str | None,
    check: Callable[[Collection[Stage]], None],
    stages: Sequence[str],
    overwrite_from: str | None,
    watcher: Watcher,
) -> None:
    """Do the tasks of the `stages` (all without), stamped in the workspace's folder.

    With `ray_address` those that ask for a model go to the machines of a Ray cluster. `check` is
    told the stages of what is to be done, and looks for what would fail late. `overwrite_from` is a
    stage that is done anew, with all that follow. Errors: see
    `steper.pipeline.pipeline.Pipeline.run`.
    """
    stamps = Stamps(workspace.out)
    planned_tasks = make_plan(tasks, stamps, stages, overwrite_from)
    check_plan(planned_tasks, workspace.out)
    check(stages_left(planned_tasks))
    with stamps.locked():
        try:
            if overwrite_from:
                stamps.make_stale(p.task for p in planned_tasks if p.state == "again")
            plan = make_plan(tasks, stamps, stages)
            wanted = [planned for planned in plan if planned.wanted]
            _do_all(wanted, workspace, jobs, ray_address, Clerk(wanted, stamps, watcher))
        finally:
            workspace.close()


def _do_all(
    plan: Sequence[PlannedTask],
    workspace: Workspace,
    jobs: Jobs,
    ray_address: str | None,
    clerk: Clerk,
) -> None:
    waiting = [planned for planned in plan if planned.state != "done"]
    for planned in plan:
        if planned.state == "done":
            clerk.skip(planned)
    with _room(waiting, jobs, ray_address) as room:
        if room is not None:
            SideBySide(workspace, clerk, room).run(waiting)
            return
    for planned in waiting:
        clerk.begin(planned)
        try:
            summary = work(planned, workspace, clerk.advance(planned.task))
        except BaseException:
            clerk.stop(planned)
            raise
        clerk.end(planned, summary)


def work(planned: PlannedTask, workspace: Workspace, advance: Advance) -> str:
    """Do a task here; one that is to be done again replaces what is there."""
    return do(planned.task, workspace, planned.state == "again", advance)


@contextmanager
def _room(
    waiting: Sequence[PlannedTask], jobs: Jobs, ray_address: str | None
) -> Iterator[Room | None]:
    """Where these tasks run side by side; None where no two of them would run at once."""
    loads = [planned.task.load for planned in waiting if planned.task.load != "none"]
    if ray_address is not None and loads:
        from steper.pipeline.on_ray import ray_room

        with ray_room(ray_address, jobs) as room:
            yield room
    elif jobs == 1 or len(loads) < 2:  # torch, which knows the GPUs, takes seconds to load
        yield None
    else:
        places = find_places(jobs)
        several = sum(places.needed(load) < places.count for load in loads) > 1
        yield places if several else None
