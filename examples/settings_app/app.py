"""
The web application of one instance: its page, its events and its API.

Every answer of the API is JSON; an error is {"error": words for a person}.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from control import OK, Control
from database import NAME_MAX, VALUE_MAX, Database, DatabaseUnusable, NameTaken, suggest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from view import View

from flushmesh import Mesh

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
BODY_BYTES_MAX: Final = 16_384

# How long another instance may take to answer before it counts as not answering.
ANSWER_MAX: Final = 1.0

# An event at least this often; the page takes 2.5 s of silence for "not answering".
EVENTS_EVERY: Final = 1.0

PAGE: Final = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Everything the page needs is in the page; it only connects to the instances beside it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self' http://127.0.0.1:* http://localhost:*; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class App:
    """The routes of instance *number*; *ports* are those of all instances, in order."""

    def __init__(self, number: int, ports: list[int], mesh: Mesh, database: Database, control: Control) -> None:
        self.view = View(number, mesh, database)
        self._ports = ports
        self._mesh = mesh
        self._database = database
        self._control = control

    def asgi(self) -> Starlette:
        """Return the application to serve."""
        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/api/state", self.state),
                Route("/api/mesh", self.mesh),
                Route("/api/events", self.events),
                Route("/api/settings", self.put_setting, methods=["POST"]),
                Route("/api/settings/new", self.save_new_settings, methods=["POST"]),
                Route("/api/instances/{number:int}/{verb}", self.signal, methods=["POST"]),
            ],
            # A foreign site whose name resolves to this machine must not get in by it.
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "::1"])],
            exception_handlers={
                HTTPException: _on_http_error,
                DatabaseUnusable: partial(_on_error, 503),
                NameTaken: partial(_on_error, 409),
            },
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        # Proxy settings of the environment are meant for the world outside, not for loopback.
        async with self._mesh, httpx.AsyncClient(trust_env=False) as self._client:
            watching = asyncio.create_task(self.view.watch_peers())
            try:
                yield
            finally:
                watching.cancel()
                self._database.close()

    # Looking.

    async def page(self, _: Request) -> Response:
        """Show all instances side by side."""
        instances = [{"number": number, "port": port} for number, port in enumerate(self._ports, 1)]
        setup = json.dumps(
            {"self": self.view.number, "instances": instances, "nameMax": NAME_MAX, "valueMax": VALUE_MAX}
        )
        return HTMLResponse(PAGE.replace("{{setup}}", setup), headers=PAGE_HEADERS)

    async def state(self, _: Request) -> Response:
        """Return this instance's state."""
        return JSONResponse(await self.view.state())

    async def mesh(self, _: Request) -> Response:
        """Return every instance's state, in the order of their numbers."""
        states = await asyncio.gather(*(self._state_of(number) for number in range(1, len(self._ports) + 1)))
        return JSONResponse(states)

    async def _state_of(self, number: int) -> dict[str, Any]:
        name = f"instance {number}"
        try:
            if number == self.view.number:
                return await self.view.state()
            async with asyncio.timeout(ANSWER_MAX):
                response = await self._client.get(f"http://127.0.0.1:{self._ports[number - 1]}/api/state", timeout=None)
            answer: dict[str, Any] = response.json()
        except DatabaseUnusable as error:
            return {"instance": name, "error": str(error)}
        except TimeoutError:
            return {"instance": name, "error": f"{name} does not answer within {ANSWER_MAX:g} s."}
        except (httpx.HTTPError, ValueError):
            return {"instance": name, "error": f"{name} cannot be reached."}
        return {"instance": name, **answer}

    async def events(self, request: Request) -> Response:
        """Send this instance's report now, at every change, and at least once a second."""
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        if (origin := request.headers.get("origin")) and _is_loopback(origin):
            headers["Access-Control-Allow-Origin"] = origin
        return StreamingResponse(self._reports(), media_type="text/event-stream", headers=headers)

    async def _reports(self) -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        bell = self.view.bell
        while not bell.closed:
            rings = bell.rings
            yield f"data: {json.dumps(await self.view.report())}\n\n"
            await bell.rung_since(rings, EVENTS_EVERY)

    # Writing.

    async def put_setting(self, request: Request) -> Response:
        """Write one setting; with "new": true only if there is none of that name."""
        body = await _json_object(request)
        name = _text(body, "name", NAME_MAX)
        value = _text(body, "value", VALUE_MAX)
        if body.get("new") is True:
            return await self._written(partial(self._database.add, name, value))
        return await self._written(partial(self._database.save, {name: value}))

    async def save_new_settings(self, request: Request) -> Response:
        """Draw new values for the shop's own settings and write them."""
        _check_origin(request)
        current = (await self.view.read()).settings
        return await self._written(partial(self._database.save, suggest(current)))

    async def _written(self, change: Callable[[], None]) -> Response:
        await self.view.write(change)
        return JSONResponse(await self.view.state())

    # Freezing.

    async def signal(self, request: Request) -> Response:
        """Have the launcher freeze or thaw another instance; answer once that is done."""
        _check_origin(request)
        number, verb = request.path_params["number"], request.path_params["verb"]
        if verb not in {"freeze", "thaw"}:
            raise HTTPException(404, "An instance can be told to freeze or to thaw.")
        if not 1 <= number <= len(self._ports):
            raise HTTPException(404, f"There is no instance {number}; there are {len(self._ports)}.")
        if number == self.view.number and verb == "freeze":
            raise HTTPException(409, f"Instance {number} serves this very page and could not thaw itself again.")
        answer = await self._control.ask(verb, number)
        if answer != OK:
            raise HTTPException(409, answer)
        # What the instance reports with an earlier clock, it sent before it was signalled.
        loop = asyncio.get_running_loop()
        return JSONResponse({"instance": f"instance {number}", "frozen": verb == "freeze", "clock": loop.time()})


async def _json_object(request: Request) -> dict[str, Any]:
    _check_origin(request)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"That is too long: at most {BODY_BYTES_MAX} bytes.")
    try:
        parsed = json.loads(body)
    # Deep nesting ends in a RecursionError; bytes that are no text in a ValueError like the others.
    except (ValueError, RecursionError):
        raise HTTPException(400, "The request is not JSON.") from None
    if not isinstance(parsed, dict):
        raise HTTPException(400, 'The request must be a JSON object, as in {"name": "Banner", "value": "Hello"}.')
    return parsed


def _text(body: dict[str, Any], field: str, length_max: int) -> str:
    """Return the stripped text of *field*, or refuse it in words."""
    text = body.get(field)
    if not isinstance(text, str):
        raise HTTPException(422, f"The {field} must be text.")
    text = text.strip()
    if not text:
        raise HTTPException(422, f"The {field} is empty.")
    if len(text) > length_max:
        raise HTTPException(422, f"The {field} is too long: {len(text)} characters, at most {length_max} fit.")
    if not text.isprintable():
        raise HTTPException(422, f"The {field} must be one line without control characters.")
    return text


def _check_origin(request: Request) -> None:
    """Refuse what a page from elsewhere makes the visitor's browser send."""
    origin = request.headers.get("origin")
    if origin is not None and not _is_loopback(origin):
        raise HTTPException(403, "Only pages of this machine may write.")


def _is_loopback(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in {"127.0.0.1", "localhost", "::1"}
    except ValueError:
        return False


async def _on_error(status: int, _: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
