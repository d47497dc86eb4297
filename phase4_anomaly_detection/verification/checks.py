"""What one check says, and the texts that checks share."""

from dataclasses import dataclass

PASSED, FAILED, SKIPPED, ERROR = "passed", "failed", "skipped", "error"
DETAIL_CHARS = 2000


@dataclass(frozen=True)
class Check:
    """`status`: passed, failed (it found something), skipped (it could not look; why), error (it broke; how)."""

    name: str
    status: str
    detail: str

    def as_json(self, seconds: float) -> dict[str, str | float]:
        detail = self.detail.encode("utf-8", "backslashreplace").decode()  # a lone surrogate is no text to send on
        if len(detail) > DETAIL_CHARS:
            detail = detail[: DETAIL_CHARS - 3] + "..."
        return {"name": self.name, "status": self.status, "detail": detail, "seconds": round(seconds, 4)}
