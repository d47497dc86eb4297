"""The part of the report's page that the phases of this folder share."""

from common.report.blocks import Section


def circuits(source: str) -> Section:
    """What a phase that was made from `source` adds to it."""
    question = "A study of its own, beside the two questions above: which latents carry an answer?"
    return Section("circuits", "Circuits", question, source=source)
