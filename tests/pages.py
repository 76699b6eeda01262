"""Pages taken apart, for the tests of what writes them."""

from html.parser import HTMLParser

VOID = {"meta", "img", "link", "br", "hr", "input", "line", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """Collects tags, words and the texts of style and script, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.code = [], [], "", {"style": "", "script": ""}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.code:
            self.code[self.open[-1]] += data
        else:
            self.words += f"{data} "

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]
