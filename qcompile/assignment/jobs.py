"""Independent evaluations: on any `concurrent.futures.Executor`, with progress, and cached on disk by content."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qcompile.errors import QCompileError

StepProgress = Callable[[str, int, int], None]
_HELD: dict[str, Any] = {}  # in a worker: the context of the last run


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass
class Cache:
    """Results by the content of what they were computed from; one JSON file per context. folder None: in memory
    only.
    """

    folder: Path | None = None
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, context: str) -> dict[str, Any]:
        """What is known for a context."""
        if context not in self.known:
            self.known[context] = self._read(context)
        return self.known[context]

    def _read(self, context: str) -> dict[str, Any]:
        from qcompile import documents

        try:
            found = documents.read(self.folder / f"{context}.json", "the cache") if self.folder else {}
        except QCompileError:
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, context: str) -> None:
        """Written whole: a run that is interrupted leaves the old file."""
        if self.folder is None:
            return
        keep(self.folder, f"{context}.json", json.dumps(self.known[context]).encode())


def keep(folder: Path, name: str, content: bytes) -> None:
    """A file of the cache, written whole: a run that is interrupted leaves the old one. QCompileError where it cannot
    be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as own:  # which goes also where not all can be written
            (Path(own) / name).write_bytes(content)
            os.replace(Path(own) / name, folder / name)
    except OSError as error:
        raise QCompileError(
            f"the cache cannot be written: {error.strerror}",
            str(folder),
            "--cache DIR names another folder, --no-cache does without",
        ) from None


@dataclass
class Jobs:
    """How evaluations are run. executor None: one after the other, here."""

    executor: Executor | None = None
    workers: int = 1
    cache: Cache = field(default_factory=Cache)
    progress: StepProgress = silent

    def run(self, fn: Callable[[Any, Any], Any], context: Any, key: str, jobs: Sequence[Any], what: str) -> list[Any]:
        """fn(context, job) of every job, in order. key: digest of fn's name and everything in the context that decides
        results. Results are JSON.
        """
        known = self.cache.of(key)
        names = [_name(job) for job in jobs]
        todo = [(n, j) for n, j in dict(zip(names, jobs, strict=True)).items() if n not in known]
        if todo:
            for done, (name, result) in enumerate(self._results(fn, context, key, todo), 1):
                known[name] = result
                self.progress(what, len(jobs) - len(todo) + done, len(jobs))
            self.cache.save(key)
        return [known[n] for n in names]

    def _results(
        self, fn: Callable[[Any, Any], Any], context: Any, key: str, todo: list[tuple[str, Any]]
    ) -> Iterator[tuple[str, Any]]:
        if self.executor is None or len(todo) < 2:
            for name, job in todo:
                yield name, fn(context, job)
            return
        packed = pickle.dumps(context)
        size = max(1, min(64, len(todo) // (4 * max(1, self.workers))))
        chunks = [todo[i : i + size] for i in range(0, len(todo), size)]
        futures = [self.executor.submit(_chunk, fn, packed, key, chunk) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()


def _chunk(
    fn: Callable[[Any, Any], Any], packed: bytes, key: str, chunk: list[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """In a worker; the context of the previous chunk is kept."""
    if key not in _HELD:
        _HELD.clear()
        _HELD[key] = pickle.loads(packed)  # noqa: S301 - made by `run` of the same user
    return [(name, fn(_HELD[key], job)) for name, job in chunk]


def _name(job: Any) -> str:
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def executor(workers: int = 0, dask: str = "") -> Iterator[tuple[Executor | None, int]]:
    """(executor, workers): a process pool of as many workers as there are processors (0), none for one worker, or a
    Dask cluster by address.
    """
    if dask:
        with _dask(dask) as found:
            yield found
        return
    workers = (
        workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or os.cpu_count() or 1
    )
    if workers == 1:
        yield None, 1
        return
    import multiprocessing

    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_single_thread
    ) as pool:
        yield pool, workers


def _single_thread() -> None:
    """One thread a worker: the processes are the parallelism. A worker ends with its run, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client
    except ImportError:
        raise QCompileError("--dask needs the package distributed", hint="pip install 'qcompile[dask]'") from None
    try:
        client = Client(address, timeout="5s")
    except (OSError, ValueError, TimeoutError) as error:
        raise QCompileError(
            f"no Dask scheduler answers: {error}",
            address,
            "dask scheduler starts one; its address looks like tcp://host:8786",
        ) from None
    with client:
        yield client.get_executor(), max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
