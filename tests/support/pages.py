"""Pages that are one file: how a test reads them, and what each of them has to keep to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

# a text that does something in a page that is not careful
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='hacked = 1'>\"'&\u202e\u2028\x00\ud800"
# a script for the browser: controls that nobody could read aloud
NAMELESS = """[...document.querySelectorAll('button, select, input, [tabindex]')].filter((one) =>
    !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')
      || one.tagName === 'BUTTON' && one.textContent.trim()
      || one.closest('label')?.textContent.trim())).map((one) => one.outerHTML)"""


class Page(HTMLParser):
    """What a browser would make of it: elements with attributes, text, and what style and script elements hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.blocks: dict[str, list[str]] = {"style": [], "script": []}
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag in self.blocks:
            self.blocks[tag].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1] in self.blocks:
            self.blocks[self._open[-1]][-1] += data
        else:
            self.text.append(data)

    @property
    def data(self):
        return json.loads(self.blocks["script"][0], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    def tags(self):
        return [tag for tag, _ in self.elements]


def assert_nothing_outside(page: Page) -> None:
    """It refers to nothing outside itself, and its script could not."""
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "img", "audio", "video")
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action", "style")
            assert name != "href" or value == "data:,"
    assert not re.search(r"url\(|@import", "".join(page.blocks["style"]))
    assert not re.search(r"fetch|XMLHttpRequest|WebSocket|import\(|innerHTML|eval", page.blocks["script"][1])


def assert_policy(page: Page) -> None:
    """Its policy allows this style and this script alone."""
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    (style,), (_, script) = page.blocks["style"], page.blocks["script"]
    for name, text in (("style-src", style), ("script-src", script)):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert "unsafe" not in policy
