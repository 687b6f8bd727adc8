"""The numbers of prose in Markdown that somebody has to have computed."""

import re
from collections.abc import Iterator

SMALL = 12  # numbers up to it are counts, which readers make themselves


def prose(text: str) -> str:
    """Without code, formulas, HTML and the targets of links; numbers without their commas."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$", " ", text, flags=re.S)
    text = re.sub(r"`[^`]*`|\$[^$\n]*\$|<[!/a-zA-Z][^>]*>", " ", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)


def numbers(text: str) -> Iterator[tuple[str, bool]]:
    """Each number of a prose that is no small count, and whether it is a percentage."""
    for number, percent in re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)(?![\d\w])( ?%)?", text):
        if "." in number or int(number) > SMALL:
            yield number, bool(percent)
