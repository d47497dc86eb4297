"""One connection, around the server's own protocol: how long a client may take, and what its half close means.

1. A request's head has `head_s` seconds, from the connection's beginning on, or from its first byte where another
   request came before; so has the rest of a body that was answered before it was read. Dripping bytes extend nothing.
2. At most `max_waiting` connections may be without a whole head; for one more, the one that waits longest is dropped.
   Whoever means it has sent its head long before.
3. A client that ends its writing side after a whole request still reads (RFC 9112, 9.6): it gets its answers, and then
   the connection ends. Who has left altogether looks the same, so the app is told (`HALF_CLOSED`): what takes long may
   choose to stop.
"""

import asyncio
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from phase4_anomaly_detection.service.metrics import ServiceMetrics
from phase4_anomaly_detection.service.settings import ServiceSettings

HALF_CLOSED = "half_closed"  # in a request's state, once its client writes no more


class Waiting:
    """The connections that have not sent a whole head, the one that waits longest first."""

    def __init__(self, most: int, metrics: ServiceMetrics):
        self._most, self._metrics = most, metrics
        self._since: dict[Connection, None] = {}

    def add(self, connection: "Connection") -> None:
        self._since[connection] = None
        if len(self._since) > self._most:
            self.drop(next(iter(self._since)), "crowded")
        self._metrics.connections_waiting.set(len(self._since))

    def remove(self, connection: "Connection") -> None:
        self._since.pop(connection, None)
        self._metrics.connections_waiting.set(len(self._since))

    def drop(self, connection: "Connection", reason: str) -> None:
        """Close a connection, whose client owes something, and count it."""
        self._metrics.connections_dropped.labels(reason).inc()
        self.remove(connection)
        connection.transport.close()


class Connection(H11Protocol):
    """uvicorn's connection, with a deadline for what its client owes."""

    def __init__(self, *args: Any, waiting: Waiting, head_s: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._waiting, self._head_s = waiting, head_s
        self._deadline: asyncio.TimerHandle | None = None
        self._half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._owes_something():
            self._set_deadline()
        else:
            self._clear_deadline()

    def eof_received(self) -> bool:
        """Whether the connection stays open for the answer."""
        if self._is_answered() or self.cycle.more_body:
            return False
        self._half_closed = True
        self.cycle.scope.setdefault("state", {})[HALF_CLOSED] = True
        self.cycle.message_event.set()  # whoever waits for a disconnection looks again
        return True

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which begins the next request, where one was sent ahead
        if self._half_closed and (self._is_answered() or self.cycle.more_body):
            self.transport.close()
        elif self._owes_something() and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _owes_something(self) -> bool:
        """Whether the client has begun what it has not ended, and nobody in the app waits for it."""
        return self._is_answered() and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _set_deadline(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._head_s, self._waiting.drop, self, "slow")
            self._waiting.add(self)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._waiting.remove(self)


def connection_class(settings: ServiceSettings, metrics: ServiceMetrics) -> type[Connection]:
    """What the server makes one of for each connection."""
    n_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    waiting = Waiting(min(settings.max_waiting, max(1, n_files // 2)), metrics)

    class ServedConnection(Connection):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, waiting=waiting, head_s=settings.head_s, **kwargs)

    return ServedConnection
