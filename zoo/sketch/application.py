"""What the server answers, and whom: this machine's own browser, on the page that it was given, and nobody else.

A page elsewhere cannot drive the server: requests must name its own address as their host, and if they come from a
page, that page must be its own. Files come from a fixed list, read once; no name in a request becomes a path. What is
sent to it is JSON of at most `MOST` bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_mnist import files
from tinygrad_mnist.command import one_line
from tinygrad_mnist.installation import told

from .answers import Answers, RequestError
from .session import Session

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

MOST = 300_000
"""Bytes of a request. A drawing takes 107,000."""

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
    answers = Answers(session)

    def file(name: str) -> Route:
        async def answer(request: Request) -> Response:
            return Response(parts[name], media_type=KINDS[Path(name).suffix])

        return Route("/" if name == "index.html" else f"/{name}", answer, methods=["GET"])

    def asked(path: str, work: Callable[[dict[str, Any]], Any]) -> Route:
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
        return JSONResponse(await asyncio.to_thread(answers.state))

    async def rules(request: Request) -> Response:
        return JSONResponse(answers.rules())

    routes = [
        *map(file, parts),
        Route("/events", events, methods=["GET"]),
        Route("/state", state, methods=["GET"]),
        Route("/rules", rules, methods=["GET"]),
        *(asked(path, work) for path, work in answers.by_path.items()),
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
