"""A page without the texts of problems, programs and documents, for where those may not be published."""

from collections.abc import Iterable

from common.report.blocks import Example, Paragraph, Passages, Section, parts_of


def leave_out_texts(sections: Iterable[Section]) -> None:
    """Put a line in the place of each block that shows one, folds included."""
    for section in sections:
        for part in parts_of(section.blocks):
            for place, block in enumerate(part):
                if isinstance(block, Example | Passages):
                    part[place] = Paragraph(f"{block.title}: left out of this page, as all texts are.", "note")
