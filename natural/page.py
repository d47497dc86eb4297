"""Tables that scripts measure, in a page that people write: between two comments that name them."""

import re
from pathlib import Path

from common.errors import ConfigError
from common.files import write_atomic


def fill(page: Path, tables: dict[str, str]) -> None:
    """Put each Markdown table between `<!-- NAME -->` and `<!-- end of NAME -->` of a page, in place of what is there.

    Raises: ConfigError when the page is missing, or has no such place; nothing is written then.
    """
    if not page.is_file():
        raise ConfigError(f"--page {page} does not exist\nGive a Markdown file with places for: {', '.join(tables)}")
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end of {re.escape(name)} -->)", re.DOTALL)
        if not place.search(text):
            raise ConfigError(
                f"{page} has no place for '{name}'\nAdd the lines <!-- {name} --> and <!-- end of {name} -->"
            )
        text = place.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)
    write_atomic(page, text.encode())
