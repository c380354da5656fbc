"""What every request passes on its way in and out: the token, the count, the log, the last resort.

It stands outside of the framework, as plain ASGI: middleware of the framework's own costs a task
and a queue for each request.
"""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from jaxcnn.serving.limits import failed
from jaxcnn.serving.pages import as_json, refusal
from jaxcnn.serving.state import State

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Without a token: what tells nothing of the models, and the page, which asks for one.
_OPEN = {"/", "/docs", "/openapi.json", "/healthz", "/readyz"}
_ASKING = {"/predict", "/explain", "/model", "/models", "/metrics"}
_KNOWN = _OPEN | _ASKING


class Middleware:
    """An ASGI application around another. log: takes the details of each request."""

    def __init__(
        self,
        app: Application,
        state: State,
        *,
        token: str = "",
        cors_origin: str = "",
        log: Callable[[dict[str, Any]], None] | None = None,
    ):
        self.state = state
        self._app = app
        self._inside = _with_cors(self._admit, cors_origin) if cors_origin else self._admit
        self._token = f"Bearer {token}".encode() if token else b""
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        from starlette.requests import ClientDisconnect

        started = time.perf_counter()
        status = 0
        details: dict[str, Any] = {}
        scope["jaxcnn"] = details
        # What GET answers, of which the server sends the head alone.
        asked = scope if scope["method"] != "HEAD" else {**scope, "method": "GET"}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.state.draining:  # so that the client comes back over a new connection
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._inside(asked, receive, sending)
        except ClientDisconnect:
            status = 499  # as others count those who did not wait for their answer
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if not status:
                await refusal(failed())(asked, receive, sending)
        finally:
            self._count(scope, status, time.perf_counter() - started, details)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets through what shows the token, where it must. The comparison takes as long for every
        token that is wrong.
        """
        if self._token and scope["path"] not in _OPEN:
            shown = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
            if not hmac.compare_digest(shown, self._token):
                reason = "a token is needed: send the header Authorization: Bearer TOKEN"
                response = as_json({"error": reason}, 401, {"www-authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _count(self, scope: Scope, status: int, seconds: float, details: dict[str, Any]) -> None:
        path = scope["path"] if scope["path"] in _KNOWN else "other"
        metrics = self.state.metrics
        metrics.requests.labels(path, str(status)).inc()
        metrics.seconds.labels(path).observe(seconds)
        if self._log is not None:
            client = scope.get("client")
            self._log(
                {
                    "time": round(time.time(), 3),
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "ms": round(1000 * seconds, 2),
                    "client": client[0] if client else None,
                    **details,
                }
            )


def _with_cors(app: Application, origin: str) -> Application:
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app,
        allow_origins=[origin],
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
