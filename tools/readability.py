"""How hard the prose of notebooks and pages is to read: lengths of sentences, and words that a reader must look up.

python tools/readability.py [FILE …]      all notebooks and pages of docs/, or those that are named (.ipynb, .md)

A sentence ends at . ! ? or :, or with its paragraph or list item; code, formulas, tables and headings are left out. A word
is rare if wordfreq (pip install wordfreq) finds it less than once in a million words of English, and it is neither explained
on the page, where new words stand in **bold**, nor in docs/glossary.md.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONG = 25  # words of a sentence that is too long
RARE = 3.0  # on wordfreq's scale: 3 is once in a million words, 4 ten times
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")


def markdown(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def sentences(text: str) -> list[list[str]]:
    """Their words. A piece of code or a formula in a sentence counts as one word."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", "\n\n", text, flags=re.S)
    text = re.sub(r"^\s*(#|\||!\[).*$", "\n", text, flags=re.M)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "Code", text)
    text = re.sub(r"<[!/a-zA-Z][^>]*>", "\n\n", text)
    text = re.sub(r"^\s*([-*]|\d+\.) ", "\n\n", text, flags=re.M)
    parts = re.split(r"\n\s*\n|(?<=[.!?:])[\s*)\"”]+(?=[A-Z“\"*(])", text)
    return [words for part in parts if (words := WORD.findall(part))]


def explained(text: str) -> set[str]:
    """Words that a page gives in bold, where it says what they mean."""
    return {word.lower() for bold in re.findall(r"\*\*([^*]+)\*\*", text) for word in WORD.findall(bold)}


def rare(words: list[str], known: set[str]) -> list[str] | None:
    try:
        from wordfreq import zipf_frequency  # type: ignore[import-not-found]
    except ImportError:
        return None
    found = {word.lower().removesuffix("'s").removesuffix("’s") for word in words if len(word) > 3}
    parts = {part for word in found for part in word.split("-") if len(part) > 3}
    unknown = {word for word in parts if zipf_frequency(word, "en") < RARE}
    return sorted(word for word in unknown if not {word, word.removesuffix("s"), word.removesuffix("es")} & known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--long", action="store_true", help="print the sentences that are too long")
    options = parser.parse_args()
    everything = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "docs").glob("*.md"))]
    glossary = ROOT / "docs" / "glossary.md"
    known = explained(glossary.read_text()) if glossary.exists() else set()
    print(f"{'page':34} {'sentences':>9} {'mean':>5} {f'over {LONG}':>7}  rare words")
    for path in options.files or everything:
        text = markdown(path)
        found = sentences(text)
        lengths = [len(words) for words in found] or [0]
        unknown = rare([word for words in found for word in words], known | explained(text))
        says = "(needs wordfreq)" if unknown is None else f"{len(unknown)}: {' '.join(unknown)}"
        long = [words for words in found if len(words) > LONG]
        print(f"{path.stem:34} {len(found):9} {statistics.mean(lengths):5.1f} {len(long):7}  {says}")
        if options.long:
            for words in long:
                print(f"    {len(words)}: {' '.join(words)}")


if __name__ == "__main__":
    main()
