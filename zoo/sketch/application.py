"""What the server answers, and whom: this machine's own browser, on the page that it was given, and nobody else.

A page elsewhere cannot drive the server: requests must name its own address as their host, and if they come from a
page, that page must be its own. Files come from a fixed list, read once; no name in a request becomes a path. What is
sent to it is JSON of at most `MOST` bytes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_mnist import files
from tinygrad_mnist.command import one_line
from tinygrad_mnist.installation import told
from tinygrad_mnist.tensor import Array

from ..images import read_pixels
from .breaking import CHANGES, breakable, broken
from .session import Session

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

MOST = 300_000
"""Bytes of a request. A drawing takes 107,000."""

SIDE = 280
"""Pixels a side of a drawing."""

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class RequestError(ValueError):
    """A request that is not what the page sends."""


def application(session: Session, hosts: set[str], ending: Callable[[], bool] = lambda: False) -> Guarded:
    """What a server runs.

    Args:
        session: what is looked at.
        hosts: the names by which the server may be called, with their port: "127.0.0.1:8765".
        ending: whether the server is about to end, and with it what windows listen to.
    """
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    paths = [
        Path(files.__file__).parent / "visualize" / "pages" / "base.css",
        *(Path(__file__).parent / "static").iterdir(),
    ]
    texts = {path.name: path.read_text("utf-8") for path in paths if path.suffix in KINDS}
    parts = {name: told(text) if name.endswith(".html") else text for name, text in texts.items()}
    one_at_a_time = threading.Lock()

    def file(name: str) -> Route:
        async def answer(request: Request) -> Response:
            return Response(parts[name], media_type=KINDS[Path(name).suffix])

        return Route("/" if name == "index.html" else f"/{name}", answer, methods=["GET"])

    def asked(work: Callable[[dict[str, Any]], Any], path: str) -> Route:
        """A route that answers with what `work` makes of the JSON that was sent."""

        async def answer(request: Request) -> Response:
            try:
                given = await _sent(request)
                return JSONResponse(await asyncio.to_thread(work, given))
            except Exception as error:  # a user's model and cost may raise anything
                return JSONResponse({"error": one_line(str(error)) or type(error).__name__}, 400)

        return Route(path, answer, methods=["POST"])

    async def events(request: Request) -> Response:
        return StreamingResponse(news(session, ending), media_type="text/event-stream")

    async def state(request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(session.state))

    async def rules(request: Request) -> Response:
        return JSONResponse({"rules": breakable(), "changes": {name: text for name, (text, _) in CHANGES.items()}})

    def go(given: dict[str, Any]) -> Any:
        session.go(_text(given, "how"))
        return {}

    def change(given: dict[str, Any]) -> Any:
        network, settings = _settings(given)
        session.change(network, settings, given.get("anew") is True)
        return {}

    def address(given: dict[str, Any]) -> Any:
        network, settings = _settings(given)
        return {"remarks": session.read(network, settings, given.get("typed") is True)}

    def look(given: dict[str, Any]) -> Any:
        pixels, about = _digit(session, given)
        return {**about, **session.look(pixels, _label(session, given))}

    def learn(given: dict[str, Any]) -> Any:
        pixels, about = _digit(session, given)
        label = _label(session, given)
        if label is None:
            raise RequestError("say what the digit is")
        return {**about, **session.learn(pixels, label)}

    def next_wrong(given: dict[str, Any]) -> Any:
        return {"example": session.wrong_after(_number(given, "example"))}

    def neuron(given: dict[str, Any]) -> Any:
        return session.neuron(_number(given, "neuron"))

    def break_it(given: dict[str, Any]) -> Any:
        if not one_at_a_time.acquire(blocking=False):
            raise RequestError("a rule is being tried already; wait for it")
        try:
            return broken(_text(given, "op"), _number(given, "place"), _text(given, "change"))
        finally:
            one_at_a_time.release()

    routes = [
        *map(file, parts),
        Route("/events", events, methods=["GET"]),
        Route("/state", state, methods=["GET"]),
        Route("/rules", rules, methods=["GET"]),
        asked(go, "/go"),
        asked(change, "/change"),
        asked(address, "/address"),
        asked(look, "/look"),
        asked(learn, "/learn"),
        asked(next_wrong, "/wrong"),
        asked(neuron, "/neuron"),
        asked(break_it, "/break"),
    ]
    return Guarded(Starlette(routes=routes), hosts)


class Guarded:
    """Lets requests pass that come from the server's own page; adds the headers that keep that page to itself."""

    def __init__(self, app: Starlette, hosts: set[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Scope) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        if wrong := self._wrong(scope):
            from starlette.responses import JSONResponse

            await JSONResponse({"error": wrong}, 403)(scope, receive, send_guarded)
        else:
            await self.app(scope, receive, send_guarded)

    def _wrong(self, scope: Scope) -> str:
        """Why a request is refused; empty if it is not."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host, origin = headers.get("host", []), headers.get("origin", [])
        if len(host) != 1 or host[0].lower() not in self.hosts:
            return f"this page is at {min(self.hosts)}"
        if scope["method"] not in ("GET", "HEAD") and len(origin) != 1:
            return "a request that changes something comes from the page itself"
        if any(each.lower() != f"http://{host[0].lower()}" for each in origin):
            return "the request comes from another page"
        if any(each not in ("same-origin", "none") for each in headers.get("sec-fetch-site", [])):
            return "the request comes from another page"
        return ""


async def news(session: Session, ending: Callable[[], bool]) -> AsyncIterator[str]:
    """The session's state as server-sent events: whenever there is something new, at most ten a second."""
    seen, silent = -1, 0
    while not ending():
        if session.version != seen:
            seen, silent = session.version, 0
            state = await asyncio.to_thread(session.state)
            yield f"data: {json.dumps(state, allow_nan=False)}\n\n"
        elif (silent := silent + 1) % 10 == 0:
            yield ": still here\n\n"
        await asyncio.sleep(0.1)


# --- What is sent ---


async def _sent(request: Request) -> dict[str, Any]:
    """The JSON of a request."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RequestError("expected JSON")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST:
            raise RequestError(f"expected at most {MOST:,} bytes")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("expected JSON") from None
    if not isinstance(given, dict):
        raise RequestError("expected a JSON object")
    return given


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name}: expected a text")
    return value


def _settings(given: dict[str, Any]) -> tuple[str, dict[str, str]]:
    settings = given.get("settings")
    if not isinstance(settings, dict) or not all(isinstance(x, str) for x in settings.values()):
        raise RequestError("expected settings, texts by name")
    return _text(given, "network"), settings


def _number(given: dict[str, Any], name: str) -> int:
    value = given.get(name)
    if type(value) is not int or not 0 <= value < 2**31:
        raise RequestError(f"{name}: expected a whole number of at least 0")
    return value


def _label(session: Session, given: dict[str, Any]) -> int | None:
    if given.get("label") is None:
        return None
    label, n_classes = _number(given, "label"), session.subject.data.n_classes
    if label >= n_classes:
        raise RequestError(f"label: expected a class from 0 to {n_classes - 1}, got {label}")
    return label


def _digit(session: Session, given: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
    """The digit of a request: an example of the data, or a drawing, prepared as `zoo.predict` does; and about it."""
    if given.get("example") is not None:
        example = _number(given, "example")
        pixels, label = session.pixels_of(example)
        return pixels, {"example": example, "truth": label}
    try:
        drawn = base64.b64decode(_text(given, "drawing"), validate=True)
    except ValueError:  # binascii.Error is one, and so is what a letter beyond ASCII raises
        raise RequestError("drawing: expected base64") from None
    if len(drawn) != SIDE * SIDE:
        raise RequestError(f"drawing: expected {SIDE} x {SIDE} bytes, got {len(drawn)}")
    values = np.frombuffer(drawn, np.uint8).reshape(SIDE, SIDE, 1).astype(np.float64)
    pixels, several = read_pixels(values, session.subject.data.image_shape)
    return pixels, {"several": several}
