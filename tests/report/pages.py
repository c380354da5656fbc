"""What the tests of pages share: a reader of HTML that insists on order."""

import re
from html.parser import HTMLParser

VOID = ("meta", "img", "br", "source")


class Reader(HTMLParser):
    """Checks that every element is closed in order; collects what is looked at."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.levels = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def tags(self):
        return {tag for tag, _ in self.elements}


def check_page(page):
    """A page whose elements are in order, that needs no network, and that can be heard as well as
    seen: every picture has a description, no heading is skipped, every link leads somewhere.
    """
    reader = Reader(page)
    for name in ("src", "srcset", "href"):
        for _, attributes in reader.elements:
            assert attributes.get(name, "#").startswith(("data:", "#"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style and "url(" not in style and "//" not in style
    assert "script" not in reader.tags
    assert all(image["alt"].strip() for image in reader.all("img"))
    assert reader.levels[0] == 1 and reader.levels.count(1) == 1
    steps = zip(reader.levels, reader.levels[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    names = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    assert {link["href"][1:] for link in reader.all("a")} <= set(names)
    assert all("scope" in cell for cell in reader.all("th"))
    return reader
