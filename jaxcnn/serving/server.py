"""The process: a socket, an event loop, and an end in which no accepted request is lost."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jaxcnn.errors import UserError
from jaxcnn.runtime.preemption import catch_signals
from jaxcnn.serving.middleware import Middleware

if TYPE_CHECKING:
    from uvicorn import Server

# Seconds in which the server still accepts after it was told to stop: those who balance load look
# at /readyz meanwhile, and clients learn from each answer that their connection closes.
DRAIN = 1.0
# Seconds that connections without a request have then, before they are closed.
_LAST = 1.0
# Seconds for what is under way at the end, on top of what one request may take.
_MORE = 5.0


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can reach; UserError where there can be none. port: 0 for any."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"--host={host} --port={port}: cannot listen there ({reason}); give another --port"
        ) from error


def run(app: Middleware, listener: socket.socket) -> int | None:
    """Serves until a signal says stop; its number."""
    with catch_signals() as stop:
        _make_server(app).run(sockets=[listener])  # which raises the signal again when it is done
    return stop.signal


def _make_server(app: Middleware) -> "Server":
    import uvicorn

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(app.state.limits.seconds + _MORE),
    )
    logging.getLogger("uvicorn").setLevel(logging.ERROR)

    class Draining(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.draining = True
            await self._until(DRAIN, lambda: False)
            listeners = [one.dup() for one in sockets or []]
            for server in self.servers:
                server.close()
            for listener in listeners:
                for connection in _accepted(listener):
                    await asyncio.get_running_loop().connect_accepted_socket(
                        self._protocol, connection
                    )
            await self._until(_LAST, lambda: not self.server_state.connections)
            await super().shutdown(sockets)

        def _protocol(self) -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        async def _until(self, seconds: float, done: Callable[[], bool]) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end and not done() and not self.force_exit:
                await asyncio.sleep(0.02)

    return Draining(config)


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """What the kernel has accepted and nobody has taken; then the socket is closed."""
    listener.setblocking(False)
    connections = []
    with contextlib.closing(listener), contextlib.suppress(BlockingIOError):
        while True:
            connections.append(listener.accept()[0])
    yield from connections
