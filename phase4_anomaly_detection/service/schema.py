"""What requests and answers hold, as OpenAPI describes them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_TESTS = 100


class DetectRequest(BaseModel):
    """A text to score. Code, tests and setup are used by verification alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(
        min_length=1, pattern=r"\S", description="read whole; of the detector's population, as /health describes it"
    )
    id: str | None = Field(None, max_length=200, description="comes back with the answer")
    verify: bool = Field(False, description="verify the program when the route is verify")
    code: str | None = Field(None, description="the program to verify; without it what stands behind the text's prompt")
    tests: list[str] = Field([], max_length=MOST_TESTS, description="asserts, as in 'assert f(2) == 4'")
    setup: str = Field("", description="what runs before the tests, such as imports")


class Contribution(BaseModel):
    """A latent that fires; the contributions of a text sum to its score."""

    layer: int
    latent: int
    activation: float
    weight: float
    contribution: float
    t: float


class Window(BaseModel):
    """Which of several windows of a long text decided."""

    index: int
    count: int


class CheckResult(BaseModel):
    name: str
    status: Literal["passed", "failed", "skipped", "error"]
    detail: str
    seconds: float


class VerificationResult(BaseModel):
    checks: list[CheckResult]
    verdict: Literal["failed", "doubtful", "passed", "inconclusive"]


class DetectResponse(BaseModel):
    """What the detector says. `verdict` is how good it was on texts it had not seen.

    Of a text of another population than the detector's (a program for a detector of prompts, or texts on which its
    latents fire otherwise than they did) the route is abstain, `reason` says why, and what may be null is null.
    """

    id: str | None
    is_anomaly: bool | None
    anomaly_score: float | None
    probability: float | None
    level: Literal["none", "low", "medium", "high", "critical"] | None
    threshold: float
    top_features: list[Contribution]
    route: Literal["proceed", "verify", "abstain"]
    n_tokens: int | None
    window: Window | None
    reason: str | None = Field(description="why it abstains; null for another route")
    verdict: str
    verification: VerificationResult | None


class LatentDrift(BaseModel):
    """How often a latent fires now and at discovery; p is Fisher's, after Holm."""

    latent: int
    rate: float | None
    rate_at_discovery: float | None
    p: float | None
    moved: bool


class Drift(BaseModel):
    """`n` texts are compared; `n_other` were refused by their form."""

    n: int
    n_other: int
    moved: bool
    latents: list[LatentDrift]


class Health(BaseModel):
    """Beyond the status, only for those who hold the token where there is one."""

    status: Literal["ok", "draining"]
    token_needed: bool
    model: str | None = None
    layer: int | None = None
    n_latents: int | None = None
    threshold: float | None = None
    verdict: str | None = None
    population: str | None = Field(None, description="the kind of text that the detector scores")
    verification: bool | None = None
    drift: Drift | None = None


class Refusal(BaseModel):
    """Why a request is not answered."""

    detail: str


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries for these statuses."""
    return {status: {"model": Refusal, "description": REASONS[status]} for status in statuses}


REASONS = {
    400: "The body is no JSON in UTF-8, or the Host header names another host",
    401: "The bearer token is missing or wrong",
    403: "Verification was asked for, and this service offers none",
    408: "The body did not arrive in time",
    413: "The body is larger than the service takes",
    415: "The body is not application/json, or is compressed",
    422: "The body lacks what it should hold, or the text is too long for the model or has nothing in it",
    503: "The service is stopping, or too many requests are under way",
}
