"""The service: POST /detect, GET /health, GET /metrics, and a page at / to paste code into.

    create_app(SAEAnomalyPipeline.load(folder).load_model(), ServiceSettings())

Bodies are parsed here and not by the framework: its parser would answer 500 to towers of brackets, and would hold a
body of any size. What is refused is refused with a reason, as {"detail": "..."}.
"""

import asyncio
import base64
import contextlib
import functools
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from fastapi.security.base import SecurityBase
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import ValidationError

from common.errors import PipelineError
from phase4_anomaly_detection.service.batching import Batcher, end_thread
from phase4_anomaly_detection.service.connections import HALF_CLOSED
from phase4_anomaly_detection.service.limits import Gate, Refused, check_body_kind, read_body
from phase4_anomaly_detection.service.logs import NAME
from phase4_anomaly_detection.service.metrics import ServiceMetrics
from phase4_anomaly_detection.service.schema import DetectRequest, DetectResponse, Health, refusals
from phase4_anomaly_detection.service.settings import ServiceSettings
from phase4_anomaly_detection.verification.processes import Patience
from phase4_anomaly_detection.verification.verify import SECONDS, TOTAL_S, Verifier

PAGE = Path(__file__).with_name("page.html")
MOST_VERIFICATIONS = 32  # that may wait: each takes seconds
DRIFT_AGE_S = 1.0  # of a report of drift that is given again
LEAST_END_S = 1.0  # for the threads to end
_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": DetectRequest.model_json_schema()}}}
}


class Service:
    """What the routes share."""

    def __init__(self, pipeline: Any, settings: ServiceSettings):
        self.pipeline, self.settings = pipeline, settings
        self.log, self.metrics = logging.getLogger(NAME), ServiceMetrics()
        self.gate = Gate(settings, self.metrics, self.log)
        self.verifier = self._verifier() if settings.verify else None
        self.verifications: set[Patience] = set()  # those that run or wait
        self.ended = True  # whether no thread is at work any more
        pipeline.drift.prepare()
        pipeline.sidecar.check_fits("text", 1)  # the first text settles the tokenizer's state, which threads share

    def _verifier(self) -> Verifier:
        total_s = self.settings.verify_s
        return Verifier(isolation=self.settings.sandbox, seconds=total_s * SECONDS / TOTAL_S, total_s=total_s)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        settings = self.settings
        self.batcher = Batcher(self.pipeline.detect, settings.batch_size, settings.batch_wait_s, self.metrics.batch)
        self.verifying = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify")
        self.batcher.start()
        self.ended = False
        try:
            yield
        finally:
            self.stop_verifying()
            close = self.verifier.close if self.verifier is not None else lambda: None
            seconds = max(LEAST_END_S, settings.drain_s)
            ended = await asyncio.gather(self.batcher.stop(seconds), end_thread(self.verifying, close, seconds))
            self.ended = all(ended)

    def stop_verifying(self) -> None:
        """Nobody waits for verifications any more: the process that one of them runs is ended."""
        for patience in list(self.verifications):
            patience.stop()

    async def detect(self, request: Request) -> Response:
        fields = request.state.log_fields
        with self.batcher.arriving():
            check_body_kind(request.headers)
            body = await read_body(request, self.settings.max_bytes, self.settings.body_s)
            wanted = parse(body)
            if wanted.verify and self.verifier is None:
                raise Refused(403, "this service verifies nothing; it would, started with --verify")
            fields |= {"n_bytes": len(body)} | ({"id": wanted.id} if wanted.id is not None else {})
            fields |= {"text": wanted.text} if self.settings.log_code else {}
            with _refusals():
                await self._check_length(wanted.text, len(body))
            answer = self.batcher.submit(wanted.text)
        with _refusals():
            detection = (await answer).as_json()
        self.metrics.detected(detection)
        fields |= {key: detection[key] for key in ("route", "n_tokens")}
        fields |= {"score": detection["anomaly_score"], "anomaly_level": detection["level"]}
        verification = None
        if wanted.verify and detection["route"] == "verify":
            verification = await self._verify(wanted, request)
            fields["verification"] = verification["verdict"]
        return JSONResponse({"id": wanted.id, **detection, "verification": verification})

    async def _check_length(self, text: str, n_bytes: int) -> None:
        """Refuse what is too long before it joins a batch, where the others would wait for its tokens."""
        if n_bytes >= self.pipeline.sidecar.context_length:  # a token is a byte at least
            await asyncio.to_thread(self.pipeline.sidecar.check_fits, text, self.settings.max_windows)

    async def _verify(self, wanted: DetectRequest, request: Request) -> dict[str, Any]:
        n_under_way = len(self.verifications)
        if n_under_way >= MOST_VERIFICATIONS:
            raise Refused(503, f"{n_under_way} verifications are under way; ask again later", {"Retry-After": "30"})
        patience = Patience(self.settings.verify_s)
        self.verifications.add(patience)
        code = self.pipeline.detector.population.program_in(wanted.text) if wanted.code is None else wanted.code
        assert self.verifier is not None  # else the request was refused
        act = functools.partial(self.verifier.verify, code, wanted.tests, wanted.setup, patience)
        # In one thread that lives as long as the service: the sandbox ends with the thread that started it.
        verified = asyncio.get_running_loop().run_in_executor(self.verifying, act)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({verified, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not verified.done():
                raise Refused(400, "the connection ended, or its client's side did, before the verification")
        finally:
            patience.stop()  # has no effect on one that is done
            verified.cancel()
            gone.cancel()
            self.verifications.discard(patience)
        result = verified.result()
        self.metrics.verifications.labels(result["verdict"]).inc()
        return result

    async def health(self, request: Request) -> Response:
        draining = self.gate.draining
        health: dict[str, Any] = {"status": "draining" if draining else "ok"}
        health |= {"token_needed": self.settings.token is not None}
        if request.state.known:
            detector = self.pipeline.detector
            health |= {"model": detector.model_name, "layer": detector.layer, "n_latents": len(detector.latents)}
            health |= {"threshold": detector.threshold, "verdict": detector.verdict}
            health |= {"population": detector.population.words()}
            health |= {"verification": self.verifier is not None}
            health |= {"drift": await asyncio.to_thread(self.pipeline.drift.report, DRIFT_AGE_S)}
        return JSONResponse(health, 503 if draining else 200)

    async def metrics_text(self, _request: Request) -> Response:
        drift = await asyncio.to_thread(self.pipeline.drift.report, DRIFT_AGE_S)
        return Response(self.metrics.text(drift, self.batcher.n_waiting), media_type=CONTENT_TYPE_LATEST)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the detector refuses is refused, as is what still waits when the service ends."""
    try:
        yield
    except PipelineError as error:
        raise Refused(422, str(error).replace("\n", ". ")) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Refused(503, "the service is stopping; ask again in a moment", {"Retry-After": "5"}) from None


async def _disconnected(request: Request) -> None:
    """Ends when the client does not wait any more, as far as one can tell: who left has ended its writing side too."""
    while (await request.receive())["type"] != "http.disconnect":
        if request.scope["state"].get(HALF_CLOSED):
            return


def parse(body: bytes) -> DetectRequest:
    """What a body asks for. Raises: Refused: 400 for what is no JSON, 422 for what is something else."""
    if not body:
        raise Refused(400, 'the body is empty; send {"text": "..."}')
    try:
        return DetectRequest.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = [f"{'.'.join(map(str, entry['loc']))[:100]}: {entry['msg']}".removeprefix(": ") for entry in errors[:5]]
    unreadable = errors[0]["type"] == "json_invalid"
    raise Refused(400 if unreadable else 422, "; ".join(reasons))


def create_app(pipeline: Any, settings: ServiceSettings) -> FastAPI:
    """The app around a pipeline that has a detector. `app.state.service` is what the routes share."""
    service = Service(pipeline, settings)
    what = "Scores prompts and programs by the latents of a sparse autoencoder, and says where to send them."
    app = FastAPI(
        title="PVA-SAE detector",
        version="1",
        description=what,
        lifespan=service.lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(_Around, gate=service.gate)
    app.add_exception_handler(Refused, _answer_refused)
    app.add_exception_handler(Exception, _answer_broken)
    auth = [] if settings.token is None else [_described_bearer()]
    refused = (400, 503) if settings.token is None else (401, 503)
    body = (400, 403, 408, 413, 415, 422)
    app.post(
        "/detect",
        response_model=None,
        summary="Score a text",
        dependencies=auth,
        openapi_extra=_BODY,
        responses={200: {"model": DetectResponse}, **refusals(*sorted({*refused, *body}))},
    )(service.detect)
    app.get(
        "/health",
        response_model=None,
        summary="Is it alive, and do its latents fire as they did?",
        responses={200: {"model": Health}, 503: {"model": Health}, **refusals(*(s for s in refused if s == 400))},
    )(service.health)
    app.get(
        "/metrics",
        response_model=None,
        response_class=Response,
        summary="Counters for Prometheus",
        dependencies=auth,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals(*refused)},
    )(service.metrics_text)
    page, headers = _page()
    app.get("/", include_in_schema=False)(lambda: HTMLResponse(page, headers=headers))
    return app


class _Around:
    """The gate, in the form that the framework wants a middleware in."""

    def __init__(self, app: Any, gate: Gate):
        self.handle = gate.around(app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.handle(scope, receive, send)


def _described_bearer() -> Any:
    """A dependency that checks nothing, since the gate did, and puts the bearer token into OpenAPI."""
    from fastapi import Security

    class Described(SecurityBase):
        def __init__(self) -> None:
            documented = HTTPBearer(description="the content of --token-file")
            self.model, self.scheme_name = documented.model, "bearer"

        async def __call__(self) -> None:
            return None

    return Security(Described())


async def _answer_refused(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # for which alone it was registered
    request.state.log_fields["reason"] = refused.reason[:300] if refused.status != 422 else "the text or a field"
    return refused.response()


async def _answer_broken(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"detail": "the service failed; its log says where"}, 500)


def _page() -> tuple[str, dict[str, str]]:
    """The page, and headers that let nothing run or load but what is written in it."""
    text = PAGE.read_text(encoding="utf-8")

    def hashes(tag: str) -> str:
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(p.encode()).digest()).decode()}'" for p in contents)

    policy = (
        f"default-src 'none'; style-src {hashes('style')}; script-src {hashes('script')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    names = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return text, {**names, "Cache-Control": "no-store"}
