"""What stands before every request: draining, host, token, and how many and how large requests may be."""

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import time
import uuid

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phase4_anomaly_detection.service.metrics import ServiceMetrics
from phase4_anomaly_detection.service.settings import ServiceSettings

OPEN_PATHS = ("/", "/health", "/openapi.json")  # without a token: they tell nothing of what was sent
_DISCARDED_BYTES, _DISCARDED_S = 64 << 20, 5.0


class Refused(Exception):
    """A request that is answered with `status` and a reason."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or {}

    def response(self) -> JSONResponse:
        return JSONResponse({"detail": self.reason}, self.status, self.headers)


class Gate:
    """Middleware around the app: decides who comes in, and counts and logs who went out."""

    def __init__(self, settings: ServiceSettings, metrics: ServiceMetrics, log: logging.Logger):
        self.settings, self.metrics, self.log = settings, metrics, log
        self.draining = False
        self.in_flight = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            return await self._handle(app, scope, receive, send)

        return handle

    async def _handle(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        began, fields = time.monotonic(), {"request": uuid.uuid4().hex[:16]}
        scope.setdefault("state", {})["log_fields"] = fields
        status = 500  # of an answer that never came

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", fields["request"].encode())]
            await send(message)

        try:
            await self._admit(app, scope, receive, send_and_note)
        finally:
            seconds, path = time.monotonic() - began, scope["path"]
            self.metrics.answered(path, status, seconds)
            shown = {"method": scope["method"], "path": path[:200], "status": status, "seconds": round(seconds, 6)}
            level = logging.INFO if path != "/health" or status != 200 else logging.DEBUG
            self.log.log(level, "request", extra={"fields": {**shown, **fields}})

    async def _admit(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except Refused as refused:
            scope["state"]["log_fields"]["reason"] = refused.reason
            return await refused.response()(scope, receive, send)
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        try:
            await app(scope, receive, send)
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.set(self.in_flight)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        if self.draining and path != "/health":  # which says so itself
            raise Refused(503, "the service is stopping; ask again in a moment", {"Retry-After": "5"})
        if self.settings.token is None:
            check_host(headers.get("host", ""), self.settings.host)
        known = self.settings.token is None or holds_token(headers.get("authorization", ""), self.settings.token)
        scope["state"]["known"] = known
        if not known and path not in OPEN_PATHS:
            given = "authorization" in headers
            reason = "the bearer token is wrong" if given else "a bearer token is needed: Authorization: Bearer TOKEN"
            challenge = 'Bearer realm="pva-sae"' + (', error="invalid_token"' if given else "")
            raise Refused(401, reason, {"WWW-Authenticate": challenge})
        if self.in_flight >= self.settings.max_waiting:
            raise Refused(503, f"{self.in_flight} requests are under way; ask again in a moment", {"Retry-After": "1"})


def holds_token(authorization: str, token: str) -> bool:
    """Whether the header holds the token; how long this takes tells nothing of how much of it is right."""
    scheme, _, given = authorization.partition(" ")
    right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return right and scheme.lower() == "bearer"


def check_host(given: str, own: str) -> None:
    """Without a token, only names of this machine will do: a web page elsewhere may not send us its readers' browsers.

    Such a page would have to use its own name, made to lead here (DNS rebinding).
    """
    name = given.rpartition("]")[0].lstrip("[") if given.startswith("[") else given.partition(":")[0]
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(name).is_loopback:
            return
    if name.lower() not in ("localhost", own.lower()):
        raise Refused(400, f"this service answers as localhost, not as '{given[:100]}'; others need --token-file")


def check_body_kind(headers: Headers) -> None:
    """Raises: Refused for a body that is not plain JSON. A web page elsewhere cannot send that kind unasked."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, f"the body is of type '{kind[:100]}'; send JSON, with Content-Type: application/json")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Refused(415, f"the body is compressed ({encoding[:100]}); send it as it is")


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body, of which never more than `most` bytes are held. Raises: Refused."""
    reason = f"the body is larger than {most} bytes"
    announced = request.headers.get("content-length", "")
    too_large = announced.isdigit() and int(announced[:20]) > most
    if too_large and "expect" in request.headers:
        raise Refused(413, reason)  # before it is sent
    body, discarded, more = bytearray(), 0, True
    try:
        async with asyncio.timeout(seconds) as patience:
            while more and discarded < _DISCARDED_BYTES:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the connection ended within the body")
                chunk, more = message.get("body", b""), message.get("more_body", False)
                if not too_large and len(body) + len(chunk) > most:
                    too_large = True
                    body.clear()
                if too_large:  # read on for a while: a client that still sends does not see an answer
                    if not discarded:
                        patience.reschedule(asyncio.get_running_loop().time() + _DISCARDED_S)
                    discarded += max(1, len(chunk))
                else:
                    body += chunk
    except TimeoutError:
        if not too_large:
            raise Refused(408, f"the body did not arrive within {seconds:g} s", {"Connection": "close"}) from None
    if too_large:
        raise Refused(413, reason, {"Connection": "close"} if more else {})
    return bytes(body)
