"""Many runs, settings x seeds, through any executor; each result is kept in a file as soon as it is there.

A run is `function(setting, seed)` and depends on nothing else. So the results are the same whatever the number of
workers and whatever the order; an interrupted sweep goes on where it stopped; and a worker that is killed costs the run
that it was at. Nothing here knows what is run, or why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_mnist.files import whole
from tinygrad_mnist.threads import hold_for

Setting = Mapping[str, Any]
Run = Callable[[Setting, int], Any]


class SweepError(RuntimeError):
    """Some runs failed: a line for each. The results of all others are kept."""


class Task(NamedTuple):
    """One run to do, and the file for its result."""

    label: str
    setting: Setting
    seed: int
    file: Path


def sweep(
    run: Run,
    settings: Mapping[str, Setting],
    seeds: Sequence[int],
    *,
    folder: Path,
    executor: Callable[[], Executor],
    workers: int = 1,
    finished: Callable[[], object] = lambda: None,
    context: Any = None,
) -> dict[str, list[Any]]:
    """Do all runs that are not in the folder yet, and return the results of all: for each label a list, a seed each.

    Args:
        run: called in a worker as run(setting, seed); a function of a module, whose result JSON can hold.
        settings: what to run, by label. JSON must be able to hold it.
        seeds: each setting is run with each.
        folder: where results are kept, one file per run.
        executor: makes an executor for one run at a time; called once a worker, and again for one that was killed.
        workers: runs at a time.
        finished: called once for every result, those that were there before included.
        context: what else the results depend on, such as the data: those of another one are not taken for these.

    Raises:
        SweepError: runs raised, or killed their worker twice. All the others have been done before.
        KeyboardInterrupt: Ctrl-C; the runs that were going on are lost, the others kept.
    """
    tasks = [
        Task(label, setting, seed, folder / f"{_key(run, setting, seed, context)}.json")
        for label, setting in settings.items()
        for seed in seeds
    ]
    folder.mkdir(parents=True, exist_ok=True)
    results = {task.file: kept for task in tasks if (kept := _kept(task.file)) is not None}
    missing = {task.file: task for task in tasks if task.file not in results}
    for _ in results:
        finished()
    failures = []
    for task, outcome in _outcomes(run, list(missing.values()), executor, workers):
        if isinstance(outcome, BaseException):
            text = " ".join(str(outcome).split()) or "no message"
            failures.append(f"{task.label}, seed {task.seed}: {type(outcome).__name__}: {text}")
            continue
        with whole(task.file) as part:
            part.write_text(json.dumps({"result": outcome}), encoding="utf-8")
        results[task.file] = outcome
        finished()
    if failures:
        raise SweepError("\n".join(failures))
    return {label: [results[task.file] for task in tasks if task.label == label] for label in settings}


def forget(folder: Path, run: Run, settings: Mapping[str, Setting], seeds: Sequence[int], context: Any = None) -> None:
    """Delete the kept results of these runs: once they are in a file of their own, a new sweep begins anew."""
    for setting in settings.values():
        for seed in seeds:
            (folder / f"{_key(run, setting, seed, context)}.json").unlink(missing_ok=True)


def processes() -> Executor:
    """A process of this machine, with one thread for NumPy's BLAS: two threads give other bits, and steal cores."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_follow)


def _follow() -> None:
    """Live as long as the process that started this one: it answers Ctrl-C, which reaches all of a terminal."""
    hold_for(_follow)  # as long as this process lives
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _outcomes(run: Run, tasks: Sequence[Task], executor: Callable[[], Executor], workers: int) -> Any:
    """Yield each task with its result or its exception, in the order in which they come.

    Each worker has an executor of its own: when one process of a pool is killed, all runs of that pool are lost.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    outcomes: queue.SimpleQueue[tuple[Task, Any]] = queue.SimpleQueue()
    stopped = threading.Event()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        if hasattr(signal, "pthread_sigmask"):  # Ctrl-C is for the main thread: processes made here inherit that
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        mine: Executor | None = None
        while not stopped.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                break
            outcome: Any = None
            for _ in range(2):
                try:
                    mine = mine or executor()
                    outcome = mine.submit(run, task.setting, task.seed).result()
                    break
                except BrokenExecutor:
                    outcome = RuntimeError("the worker was killed, and the one after it")
                    mine = None
                    if stopped.is_set():
                        return
                except BaseException as error:  # whatever a run raises concerns that run alone
                    outcome = error
                    break
            outcomes.put((task, outcome))
        if mine is not None:
            mine.shutdown(wait=False)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(tasks)))]
    for thread in threads:
        thread.start()
    try:
        for _ in tasks:
            yield _heard(outcomes)
    finally:
        stopped.set()
        if not waiting.empty() or any(thread.is_alive() for thread in threads):
            for child in multiprocessing.active_children():
                child.terminate()


def _heard(outcomes: queue.SimpleQueue[Any]) -> Any:
    """The next outcome, waited for so that a signal is heard which the system gave to another thread."""
    while True:
        with contextlib.suppress(queue.Empty):
            return outcomes.get(timeout=0.5)


def _key(run: Run, setting: Setting, seed: int, context: Any) -> str:
    """What a run depends on, as a short name."""
    text = json.dumps([run.__module__, run.__qualname__, setting, seed, context], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _kept(file: Path) -> Any:
    """The result in a file; None if there is none, or the file is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))["result"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
