"""`run.py report`: what was found, what was run and what to beware of, on one page. See document.py."""

from typing import Any

__all__ = ["ReportResult", "write_report", "write_reports"]  # pyright: ignore[reportUnsupportedDunderAll] - when used


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: whoever wants one of them needs no page."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from common.report import document

    return getattr(document, name)
