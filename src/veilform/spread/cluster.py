"""A Ray cluster, behind the few calls that Veilform needs. No other module imports Ray.

Arguments and results are tuples, numbers, strings and bytes. Ray itself pickles them, and the names
of functions, between its processes, which are therefore one domain of trust. Functions and classes
are found by name on each node: the same release must be installed there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from veilform.closing import Closing
from veilform.errors import ConnectionFailed, InputError, StockError
from veilform.spread import trust

MOST_TRIES = 3
"""Of one job, when workers die."""
CLOSE_S = 10.0
_AHEAD = 4
"""Results of one stream that wait for the reader, before its worker does."""
_MOST_STORE_BYTES = 16 << 30
_MEMORY = "/dev/shm"  # noqa: S108 - not a temporary folder but shared memory, where there is any


class Worker(Protocol):
    """What `Cluster.work` makes once in each process. It should not raise: Ray would tell of it."""

    def do(self, *job: Any) -> Any:
        """One job's result."""

    def close(self) -> None:
        """Ends it."""


class Cluster(Closing):
    """A connection to a cluster; one at a time in a process.

    Args:
        address: ``local``, which starts one that ends with this, or host:port of one with TLS.
        workers: jobs at a time; 0: as many as there are processors.

    Attributes:
        workers: jobs at a time.

    Raises:
        InputError: Ray is not installed, or the cluster may not be used (`trust.check`).
        ConnectionFailed: it cannot be started or reached.
    """

    def __init__(self, address: str = trust.LOCAL, workers: int = 0) -> None:
        trust.check(address, os.environ)
        if address == trust.LOCAL:
            _ask_for_a_token()
        self._ray = ray = _ray()
        self._folders = contextlib.ExitStack()
        if ray.is_initialized():
            raise InputError("this process uses a Ray cluster already")
        quiet = {"log_to_driver": False, "configure_logging": False}
        try:
            if address == trust.LOCAL:
                workers = workers or os.cpu_count() or 1
                self._start(workers, quiet)
            else:
                ray.init(address=address, **quiet)
            processors = int(ray.cluster_resources().get("CPU", 1))
        except Exception as error:  # of many kinds, and of Ray's own choice
            self.close()
            what = "started" if address == trust.LOCAL else f"reached at {address}"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConnectionFailed(f"the Ray cluster cannot be {what}: {reason}") from None
        self.workers = min(workers or processors, processors)

    def _start(self, workers: int, quiet: dict[str, Any]) -> None:
        """A cluster that is only for this process: no disk, no telemetry."""
        # Ray's own folder takes objects, too, for which its store has no room: in memory with both.
        memory = _MEMORY if os.path.isdir(_MEMORY) else None
        ours, theirs = self._folder(None), self._folder(memory)
        # Each worker has its part of the processors, and what a killed one leaves goes in the end.
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        threads = os.environ.get("VEILFORM_THREADS", threads)
        with _inherited(TMPDIR=ours, VEILFORM_THREADS=threads):
            self._ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                _temp_dir=theirs,
                _system_config={
                    "automatic_object_spilling_enabled": False,  # secrets stay in memory
                    "enable_metrics_collection": False,
                },
                **quiet,
                **(_store_in(memory) if memory else {}),
            )

    def _folder(self, where: str | None) -> str:
        """A folder of this user's alone, which goes with the cluster."""
        return self._folders.enter_context(
            tempfile.TemporaryDirectory(prefix="veilform-", dir=where, ignore_cleanup_errors=True)
        )

    def put(self, content: bytes) -> object:
        """Keeps bytes in the cluster's memory as long as what is returned; for `fetch` there.

        Raises:
            StockError: there is no room.
        """
        try:
            return self._ray.put(content)
        except self._ray.exceptions.RayError as error:
            raise StockError(f"the Ray cluster has no room: {type(error).__name__}") from None

    def stream(self, function: Callable[..., Iterator[bytes]], *arguments: Any) -> Iterator[bytes]:
        """What ``function`` yields in some process, as it comes; the process waits for the reader.

        If the process dies, another one begins again, and what was read is not read twice: what the
        function yields must follow from its arguments.

        Raises:
            ConnectionFailed: it failed, in a way that is not told, or too many processes died.
        """
        task = self._ray.remote(function).options(
            num_cpus=1,
            num_returns="streaming",
            max_retries=MOST_TRIES - 1,
            _generator_backpressure_num_objects=_AHEAD,
        )
        results, ended = task.remote(*arguments), False
        try:
            for result in results:
                yield self._ray.get(result)
            ended = True
        except self._ray.exceptions.RayError as error:
            raise ConnectionFailed(f"a worker failed: {type(error).__name__}") from None
        finally:
            if not ended:
                # One that waits for a reader does not hear of it in another way.
                with contextlib.suppress(Exception):
                    self._ray.cancel(results, force=True)

    def work(
        self, kind: Callable[..., Worker], given: Sequence[Any], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """The number and result of each job, in the order in which they end.

        The last job begins first. A worker is made from ``given`` in each process and does one job
        after the other. One that dies is replaced, and its job done again by a new one.

        Raises:
            ConnectionFailed: workers died of one job `MOST_TRIES` times.
        """
        ray = self._ray
        make = ray.remote(num_cpus=1)(kind)
        waiting, deaths = deque(range(len(jobs))), Counter[int]()
        idle: list[Any] = []
        running: dict[Any, tuple[Any, int]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    worker, number = idle.pop() if idle else make.remote(*given), waiting.pop()
                    running[worker.do.remote(*jobs[number])] = worker, number
                (ended,), _ = ray.wait(list(running), num_returns=1)
                worker, number = running.pop(ended)
                try:
                    result = ray.get(ended)
                except ray.exceptions.RayError as error:
                    deaths[number] += 1
                    if deaths[number] == MOST_TRIES:
                        raise ConnectionFailed(
                            f"{MOST_TRIES} workers died of one job: {type(error).__name__}"
                        ) from None
                    _let_go(ray, worker)
                    waiting.append(number)
                    continue
                idle.append(worker)
                yield number, result
        finally:
            closing = [worker.close.remote() for worker in idle]
            for worker, _ in running.values():
                _let_go(ray, worker)
            if closing:
                ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
            for worker in idle:
                _let_go(ray, worker)

    def close(self) -> None:
        """Leaves the cluster; ends it if this started it. May be called again."""
        self._ray.shutdown()
        self._folders.close()


def installed() -> str:
    """Which Ray there is.

    Raises:
        InputError: none.
    """
    return f"Ray {_ray().__version__}"


def fetch(kept: object) -> bytes:
    """In a worker: the bytes that `Cluster.put` keeps."""
    content: bytes = _ray().get(kept)
    return content


def _ask_for_a_token() -> None:
    """Has a cluster of this process's ask for a token: whoever has it runs code there.

    Raises:
        InputError: Ray, which reads its mode when it is imported, was imported in another one.
    """
    if sys.modules.get("ray") and os.environ.get("RAY_AUTH_MODE") != "token":
        raise InputError("Ray was imported before: set RAY_AUTH_MODE=token before that")
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextlib.contextmanager
def _inherited(**variables: str) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _let_go(ray: Any, worker: Any) -> None:
    with contextlib.suppress(Exception):
        ray.kill(worker)


def _store_in(memory: str) -> dict[str, Any]:
    """The object store there, and small enough: Ray would take a disk."""
    found = os.statvfs(memory)
    room = found.f_bavail * found.f_frsize
    return {"_plasma_directory": memory, "object_store_memory": min(room // 2, _MOST_STORE_BYTES)}


def _ray() -> Any:
    """The module, without its telemetry.

    Raises:
        InputError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What Ray does to the environment of workers without GPUs; it warns as long as this is unset.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("this needs an extra: pip install 'veilform[ray]'") from None
    return ray
