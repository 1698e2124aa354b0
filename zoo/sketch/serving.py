"""The server: where it is, how it begins and ends; and `show`, for a model of one's own."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from typing import Any

from tinygrad_mnist import mnist, nn
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Tensor

from .application import application
from .own import OwnSubject
from .session import Session
from .subjects import Subject

PORT = 8765
"""Where the page is, if nobody else is there."""

GRACE = 2
"""Seconds that requests have to come to their end when the server does."""


def require() -> None:
    """Raise an ImportError, in one line with the remedy, if the server's packages are missing."""
    try:
        import starlette as starlette
        import uvicorn as uvicorn
    except ImportError:
        raise ImportError('the live page needs starlette and uvicorn: pip install -e ".[sketch]"') from None


def show(
    model: nn.Module,
    data: mnist.Dataset,
    cost: Callable[[Any, Any], Tensor] = softmax_cross_entropy,
    optimizer: Optimizer | None = None,
    *,
    batch_size: int = 10,
    seed: int = 0,
    port: int = PORT,
    browser: bool = True,
) -> None:
    """Show a page on which a model is drawn for, looked into and trained, until Ctrl-C.

        from zoo import sketch
        sketch.show(model, mnist.load())

    Args:
        model: a Module, of a batch of images, a Tensor of shape (n, pixels); its outputs have shape (n, n_classes).
        data: to train on, and to look at.
        cost: called as cost(outputs, targets), with a row of targets for each image.
        optimizer: of the model's parameters; None for SGD with a learning rate of 0.1.
        batch_size: digits a step.
        seed: of the order of the digits.
        port: where, on this machine; if it is taken, at another one.
        browser: whether the browser is opened.

    Raises:
        ImportError: Starlette or uvicorn is missing; it says how to install them.
        TypeError, ValueError: `model` is no Module, or does not fit `data`.
    """
    require()
    with contextlib.suppress(KeyboardInterrupt):
        serve(OwnSubject(model, data, cost, optimizer, batch_size, seed), port, browser)


def serve(subject: Subject, port: int = PORT, browser: bool = True) -> None:
    """Serve the page until Ctrl-C, which is raised again."""
    with served(subject, port) as address:
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if browser and not webbrowser.open(address):
            print("no browser could be opened: open this address yourself", file=sys.stderr)
        forever = threading.Event()
        while not forever.wait(1):  # without a time Windows would not hear Ctrl-C
            pass


@contextlib.contextmanager
def served(subject: Subject, port: int = PORT) -> Iterator[str]:
    """The page at an address, which is there until the end of the block."""
    import uvicorn

    session = Session(subject)
    with _listening(port) as listener:
        own = listener.getsockname()[1]
        hosts = {f"127.0.0.1:{own}", f"localhost:{own}"}
        app = application(session, hosts, lambda: server.should_exit)
        options: dict[str, Any] = {"log_level": "error", "access_log": False, "ws": "none", "lifespan": "off"}
        server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=GRACE, server_header=False, **options))
        said = logging.getLogger("uvicorn.error")
        said.addFilter(lives := lambda record: not server.should_exit)  # whom it cuts off as it ends is no error
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{own}/"
        finally:
            server.should_exit = True
            thread.join(5)
            said.removeFilter(lives)
            session.end()


def _listening(port: int) -> socket.socket:
    """A socket that only this machine reaches, at this port, or at another if that is taken."""
    for wanted in (port, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if sys.platform != "win32" else 0)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(64)
            return listener
        except OSError:
            listener.close()
            if wanted == 0:
                raise
    raise AssertionError("unreachable")
