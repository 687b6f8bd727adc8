"""One HTML file that needs nothing else: its style, its script and its data are inside, and it may load and send nothing.

Text in a page may come from anywhere. In HTML it is escaped (`escaped`), in a script it is JSON that cannot end the script
(`embedded`), and a script puts it into the page as text, never as HTML. Should one of these fail, the page's policy runs only
the script whose SHA-256 it names.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
STYLE, SCRIPT = "page.css", "drawing.js"  # what every page looks like and draws with
LONGEST = 600  # characters of one text
# control and format characters (which can turn the direction of what follows), surrogates, separators of lines
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
$body
<script type="application/json" id="data">$data</script>
<script>$script</script>
</body>
</html>
""")


def page(title: str, body: str, data: Any, *, styles: Iterable[Path], scripts: Iterable[Path]) -> str:
    """A whole page.

    title: any text. body: HTML in which every foreign text is escaped. data: plain values, which the script reads from the
    element `data`. styles, scripts: the page's own files, behind page.css and drawing.js, which every page has.
    """
    style, script = (_joined(files) for files in ((HERE / STYLE, *styles), (HERE / SCRIPT, *scripts)))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return PAGE.substitute(
        policy=policy, title=escaped(title), style=style, body=body, data=embedded(data), script=script
    )


def fill(file: Path, texts: Mapping[str, str]) -> str:
    """The HTML of a file, with $names in it replaced. texts: HTML too."""
    return Template(file.read_text(encoding="utf-8")).substitute(texts)


def escaped(text: Any) -> str:
    """A text as HTML, also inside an attribute."""
    return html.escape(visible(text))


def visible(text: Any) -> str:
    """The same with characters that cannot be seen written as numbers, and not longer than LONGEST."""
    whole = str(text)
    if whole.isprintable() and len(whole) <= LONGEST:  # nearly every text, and nothing of INVISIBLE is printable
        return whole
    out = "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in INVISIBLE else c for c in whole[:LONGEST])
    return out + "…" if len(whole) > LONGEST else out


def embedded(value: Any) -> str:
    """JSON that can stand inside a script element: no character that HTML gives a meaning to."""
    text = json.dumps(_visible(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(key): _visible(x) for key, x in value.items()}
    return [_visible(x) for x in value] if isinstance(value, (list, tuple)) else value


def _joined(files: Iterable[Path]) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
