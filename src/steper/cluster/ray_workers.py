"""A run made by workers on Ray: shards are handed out as workers finish, then merged.

Ray places the workers, and starts one that died again, elsewhere where its machine is gone. Its
shard goes to whoever is free; the shard's folder has all that had finished. Within a worker our
engine drives the questions, so no step waits for another. Workers share a file system, in which
their shards lie.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steper.artifact import MANIFEST, Lock, begun
from steper.cluster.job import TeachingJob, shards_folder
from steper.cluster.worker import Worker, shard_name
from steper.engine import Stats
from steper.errors import InputError, ModelError, SettingsError, SteperError, missing_extra
from steper.journal import IN_USE
from steper.lm.shipped import locate_model
from steper.merging import merge
from steper.runs import Run
from steper.shards import Shard
from steper.store import read_json, write_json
from steper.text import one_line

log = logging.getLogger(__name__)

SHARDS_A_WORKER = 4
"""So that workers that are done early take over what others would have had to do."""

MOST_DEATHS = 5
"""Workers that may die at one shard: machines come and go, but a crash may repeat itself."""

LOOK_SECONDS = 0.5
CONNECT_SECONDS = 10.0
PLAN = "plan.json"


def teach_by_workers(
    job: TeachingJob,
    out: Path,
    workers: int,
    *,
    address: str | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Callable[[Stats], None] | None = None,
) -> Run:
    """Run a job by so many workers, and write the whole run to the folder `out`.

    `address` is a Ray cluster's; without it Ray is started on this machine alone. The same call
    goes on where an interrupted one stopped, with another number of workers, too. Raises
    MissingExtraError without Ray, SteperError for whatever a worker met that the user can mend.
    """
    named, out = out, Path(os.path.realpath(out))
    shards = shards_folder(out)
    whole = _is_whole(out) and not overwrite
    if overwrite:
        shutil.rmtree(shards, ignore_errors=True)
    with Lock(shards / ".lock", f"{out}: {IN_USE}"):
        planned: list[Shard | None] = [None] if whole else _plan(shards, workers, job)
        with started(address) as ray:
            shared = ray.put(job)  # kept to the end: workers that are started again read it again
            actors = _actors(ray, job, shared, out, min(workers, len(planned)))
            try:
                asked = [str(shard) if shard else None for shard in planned]
                # Of an unfinished run failed questions are asked again anyway.
                retry = retry_failed or not whole
                _HandOut(ray, actors, _Progress(job, progress)).run(asked, retry)
            finally:
                for actor in actors:
                    ray.kill(actor)
        if not whole:
            made = [shards / shard_name(shard) for shard in planned if shard]
            merge(made, out, overwrite=overwrite)
    shutil.rmtree(shards, ignore_errors=True)
    return Run(named)


def _is_whole(out: Path) -> bool:
    """Whether the run is complete. Raises InputError for a folder that workers did not begin."""
    if not begun(out, "a run folder"):
        return False
    manifest = read_json(out / MANIFEST)
    if isinstance(manifest, dict) and manifest.get("status") == "complete":
        return True
    if isinstance(manifest, dict) and manifest.get("merged"):
        return False  # killed while it was merged
    raise InputError(
        f"{out} was begun without --workers: go on without, or --overwrite to begin anew"
    )


def _plan(shards: Path, workers: int, job: TeachingJob) -> list[Shard | None]:
    """The shards of the run: as many as were planned when it was begun."""
    path = shards / PLAN
    if not path.exists():
        count = min(SHARDS_A_WORKER * workers, len(job.questions))
        write_json(path, {"of": max(count, 1)})
    plan = read_json(path)
    of = plan.get("of") if isinstance(plan, dict) else None
    if type(of) is not int or of < 1:
        raise InputError(f"{path}: of is {of!r}, not a number of shards; begin anew, --overwrite")
    return [Shard(number, of) for number in range(1, of + 1)]


@contextmanager
def started(address: str | None) -> Iterator[Any]:
    """Ray, which is stopped at the end unless it was running in this process before.

    Without an address it is started on this machine alone.
    """
    try:
        import ray
    except ImportError as error:
        raise missing_extra("ray", "ray", error) from None
    if ray.is_initialized():
        yield ray
        return
    if address is not None:
        _check_answers(address)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            quiet = {"include_dashboard": False, "log_to_driver": False}
            ray.init("local", logging_level=logging.ERROR, **quiet)
        else:
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"ray-address is {address!r}, and Ray cannot be reached there: {one_line(error, 200)}"
        ) from None
    if main:
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own in place
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise SettingsError where nothing answers at HOST:PORT: Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"ray-address is {address!r}, and nothing answers there ({error}); `ray status` on the "
            "cluster's first machine says its address"
        ) from None


def _actors(ray: Any, job: TeachingJob, shared: Any, out: Path, count: int) -> list[Any]:
    """The workers of a job that is `shared` through Ray.

    A local model gets a GPU to itself where there are any, else a core.
    """
    there = ray.cluster_resources()
    spec = locate_model(job.model)
    needs: dict[str, float] = {"num_cpus": 0}
    if spec.partition(":")[0] not in ("openai", "gold", "scripted"):
        gpus = job.vllm.tensor_parallel_size if spec.startswith("vllm:") else 1
        needs = {"num_cpus": 1, "num_gpus": gpus if there.get("GPU") else 0}
    for name, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        room = int(there.get(kind, 0) // needs[name]) if needs.get(name) else count
        if room < count:
            log.warning("%d workers want a %s; there is room for %d, so far", count, kind, room)
    worker = ray.remote(
        max_restarts=-1,  # but see MOST_DEATHS
        max_concurrency=2,  # one thread asks, the other tells how far it is
        scheduling_strategy="SPREAD",
        **needs,
    )(Worker)
    return [worker.remote(shared, out, Path.cwd()) for _ in range(count)]


class _HandOut:
    """Hands shards to workers that are up and free, until all are made.

    A shard whose worker died goes to the next that is free: there may be no room to start that
    worker again while the others keep theirs.
    """

    def __init__(self, ray: Any, actors: Sequence[Any], progress: _Progress) -> None:
        self._ray = ray
        self._actors = actors
        self._progress = progress
        self._free: list[Any] = []
        self._at_work: dict[Any, tuple[Any, str | None]] = {}  # by what Ray will answer
        self._asked: dict[Any, Any] = {}  # how far is it?, by worker
        self._deaths: Counter[str | None] = Counter()

    def run(self, shards: Iterable[str | None], retry_failed: bool) -> None:
        """Have all shards made. Raises what a worker raised, where that is the user's to mend."""
        todo = deque(shards)
        while todo or self._at_work:
            while todo and self._free:
                actor, shard = self._free.pop(), todo.popleft()
                self._at_work[actor.teach.remote(shard, retry_failed)] = (actor, shard)
            self._progress.show(self._told())
            for answer in self._ready(list(self._at_work)):
                actor, shard = self._at_work.pop(answer)
                if self._made(answer, shard):
                    self._free.append(actor)
                else:
                    todo.appendleft(shard)
        self._progress.show([])

    def _ready(self, answers: list[Any]) -> list[Any]:
        """Those that are there; waits for the first, for a moment."""
        if not answers:
            time.sleep(LOOK_SECONDS)
            return []
        ready: list[Any] = self._ray.wait(answers, timeout=LOOK_SECONDS)[0]
        return ready

    def _made(self, answer: Any, shard: str | None) -> bool:
        """Whether a shard was made; not where its worker died. Raises what else ended it."""
        errors = self._ray.exceptions
        try:
            self._progress.finished(self._ray.get(answer))
        except errors.RayTaskError as error:
            if isinstance(error.cause, SteperError):
                raise error.cause from None
            raise
        except (errors.RayActorError, errors.WorkerCrashedError) as error:
            self._deaths[shard] += 1
            what = f"shard {shard}" if shard else "the run"
            if self._deaths[shard] == MOST_DEATHS:
                raise ModelError(
                    f"{MOST_DEATHS} workers died at {what}, which the same command goes on with "
                    f"({one_line(error, 200)})"
                ) from None
            log.warning("a worker died; another one goes on with %s", what)
            return False
        return True

    def _told(self) -> list[Stats]:
        """How far workers are; who answers and has nothing to do is free."""
        for actor in self._actors:
            if actor not in self._asked:
                self._asked[actor] = actor.stats.remote()
        asked = self._asked
        ready, _ = self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=0)
        busy, found = [actor for actor, _ in self._at_work.values()], []
        for actor in [actor for actor, answer in asked.items() if answer in ready]:
            try:
                stats = self._ray.get(asked.pop(actor))
            except self._ray.exceptions.RayError:  # it is being started again
                continue
            if actor in busy:
                found += [stats] if stats else []
            elif actor not in self._free:
                self._free.append(actor)
        return found


class _Progress:
    """One line for all workers: what finished shards did, and what the others have done so far."""

    def __init__(self, job: TeachingJob, show: Callable[[Stats], None] | None) -> None:
        self._show = show
        self._all = Stats(total=len(job.questions) * job.samples)
        self._shards: list[Stats] = []

    def finished(self, stats: Stats) -> None:
        """A shard is made."""
        self._shards.append(stats)

    def show(self, under_way: Sequence[Stats]) -> None:
        """Tell how far all are together."""
        if self._show is None:
            return
        parts = [*self._shards, *under_way]
        new = Stats(total=self._all.total, started=self._all.started)
        for part in parts:
            new.done += part.done
            new.in_flight += part.in_flight
            new.searches += part.searches
            new.generations += part.generations
            new.replayed += part.replayed
            new.usage = new.usage + part.usage
            new.by_status.update(part.by_status)
        new.done = min(new.done, new.total)
        self._show(new)
