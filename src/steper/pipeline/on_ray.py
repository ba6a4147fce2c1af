"""Tasks on the machines of a Ray cluster, which share a file system with the pipeline's.

Ray finds a machine with room for each; there a worker of Ray's starts the task's own process, the
same as on one machine, and passes on what it tells.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from steper.cluster.ray_workers import MOST_DEATHS, started
from steper.cluster.worker import LOCK_SECONDS
from steper.errors import InputError, SettingsError
from steper.journal import IN_USE
from steper.pipeline.places import Jobs
from steper.pipeline.plan import Load
from steper.pipeline.task_process import LocalProcess, Message, TaskProcess, Tell, show_here
from steper.text import one_line

log = logging.getLogger(__name__)

PRINTED = "printed"


class TaskHost:
    """In a worker of Ray's: starts a task's process, and says what it tells.

    Its methods are called from several threads: `told` waits while others are called.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[Message | None] = SimpleQueue()
        self._process: LocalProcess | None = None

    def begin(self, given: bytes, path: Sequence[str], folder: Path) -> None:
        """Start the process in the pipeline's `folder`, with its `path` of modules."""
        try:
            os.chdir(folder)
        except OSError as error:
            raise InputError(
                f"{folder}: not there on {os.uname().nodename} ({error.strerror}); tasks on Ray "
                "need a file system that all machines share"
            ) from None
        sys.path[:] = path
        self._process = LocalProcess(
            given, {}, self._told.put, lambda line: self._told.put((PRINTED, line))
        )

    def told(self) -> list[Message | None]:
        """What the task has told since the last call, at least one message; None is the last."""
        found = [self._told.get()]
        while not self._told.empty():
            found.append(self._told.get())
        return found

    def interrupt(self) -> None:
        """Let the task stop where it can be taken up again."""
        if self._process is not None:
            self._process.interrupt()

    def wait(self) -> str:
        """How the process ended."""
        assert self._process is not None
        return self._process.wait()


class RayTask:
    """A task's process somewhere in the cluster; begun anew where its machine is gone."""

    def __init__(self, ray: Any, needs: dict[str, float], given: bytes, tell: Tell) -> None:
        self._ray = ray
        self._needs = needs
        self._given = given
        self._tell = tell
        self._host: Any = None
        self._how = "before it began"
        self._stopping = Event()
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Let it stop where it can be taken up again."""
        self._stopping.set()
        if self._host is not None:
            self._host.interrupt.remote()

    def kill(self) -> None:
        """End it at once."""
        self._stopping.set()
        if self._host is not None:
            self._ray.kill(self._host)

    def wait(self) -> str:
        """Wait for its end; what ended it, for a task that did not tell."""
        self._thread.join()
        return self._how

    def _listen(self) -> None:
        """In a thread: begin the task, and pass on what it tells."""
        try:
            deaths = 0
            while not self._stopping.is_set() and deaths < MOST_DEATHS:
                try:
                    self._follow(deaths > 0)
                    return
                except self._ray.exceptions.RayActorError as error:
                    deaths += 1
                    self._how = f"with its worker on Ray ({one_line(error, 200)})"
                    if not self._stopping.is_set():
                        log.warning("a worker died; its task begins again where there is room")
        except Exception as error:  # noqa: BLE001 - the pipeline raises it
            cause = getattr(error, "cause", None)
            self._tell(("failed", (cause if isinstance(cause, Exception) else error, str(error))))
        finally:
            self._tell(None)

    def _follow(self, again: bool) -> None:
        """Begin the task and listen to its end; `again`: after a death.

        A folder that the dead one held is waited for: network file systems take a while to notice.
        """
        until = time.monotonic() + (LOCK_SECONDS if again else 0.0)
        while not self._once(again and time.monotonic() < until):
            time.sleep(1.0)

    def _once(self, may_wait: bool) -> bool:
        """Have the task done once; False where its folder is still in use and it `may_wait`."""
        ray = self._ray
        options = {"max_concurrency": 3, "scheduling_strategy": "SPREAD", **self._needs}
        self._host = host = ray.remote(**options)(TaskHost).remote()
        try:
            asked = host.begin.remote(self._given, sys.path, Path.cwd())
            while not ray.wait([asked], timeout=0.5)[0]:
                if self._stopping.is_set():  # there was no room for it yet
                    return True
            ray.get(asked)
            if self._stopping.is_set():
                host.interrupt.remote()
            while True:
                for message in ray.get(host.told.remote()):
                    if message is None:
                        self._how = ray.get(host.wait.remote())
                        return True
                    if message[0] == PRINTED:
                        show_here(message[1])
                    elif may_wait and message[0] == "failed" and IN_USE in str(message[1][0]):
                        return False
                    else:
                        self._tell(message)
        finally:
            ray.kill(host)


@dataclass(frozen=True)
class RayRoom:
    """A Ray cluster: a place is a core or, where there are GPUs, a GPU, on whichever machine.

    `largest` is how many of them the machine with the most has; a task that would have a machine to
    itself takes one so large. `fixed`: so many tasks at once were asked for.
    """

    ray: Any
    count: int
    largest: int
    kind: str
    fixed: bool = False

    def needed(self, load: Load) -> int:
        """How many places a task takes; one that must be alone takes all of them."""
        if self.fixed:
            return 1
        return self.count if load == "alone" else self._own(load)

    def _own(self, load: Load) -> int:
        """How many cores or GPUs of one machine a task computes on."""
        return 1 if load == "small" or (load == "large" and self.kind == "GPU") else self.largest

    def start(self, given: bytes, load: Load, place: int, tell: Tell) -> TaskProcess:
        """Start a task where Ray finds room for it."""
        needs: dict[str, float] = {"num_cpus": 1}
        needs["num_gpus" if self.kind == "GPU" else "num_cpus"] = self._own(load)
        return RayTask(self.ray, needs, given, tell)


@contextmanager
def ray_room(address: str, jobs: Jobs) -> Iterator[RayRoom]:
    """The room of a Ray cluster at an address; `local` is this machine.

    Raises MissingExtraError without Ray, SettingsError where there is no cluster.
    """
    with started(None if address == "local" else address) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        kind = "GPU" if any(node.get("GPU") for node in nodes) else "CPU"
        places = [int(node.get(kind, 0)) for node in nodes]
        if not sum(places):
            raise SettingsError(f"ray-address is {address!r}, and that cluster has no {kind}")
        count = sum(places) if jobs == "auto" else jobs
        yield RayRoom(ray, count, max(places), kind, jobs != "auto")
