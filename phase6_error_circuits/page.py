"""The part of the report's page that the phases of this folder share."""

from common.report.blocks import Section


def errors(source: str) -> Section:
    """What a phase that was made from `source` adds to it."""
    question = "A study of its own, beside the two questions above: what carries the name of the error that is to come?"
    return Section("errors", "Errors", question, source=source)
