"""What a reader of an HTML file sees, without a browser."""

import html
import html.parser


def words(source: str) -> str:
    """What a reader sees, without tags and with plain spaces."""
    return " ".join(html.unescape(" ".join(Reader(source).texts)).split())


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, and the text outside of script and style."""

    def __init__(self, source: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.texts.append(data)
