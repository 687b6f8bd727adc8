"""Whether a text shown somewhere is what a run gives. Numbers count to the digits that are shown, white space does not."""

import re

NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?![\w.…])")
ANY_NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"


def differs(shown: str, found: str, units: float = 0.6) -> bool:
    """Whether what a page shows is not what was found. In what is shown, … stands for anything.

    units: how far a number may be off, in units of the last digit that is shown.
    """
    numbers = NUMBER.findall(shown)
    pattern = ANY_NUMBER.join(
        r"\s*".join(re.escape(word).replace("…", ".*?") for word in re.split(r"\s+", text))
        for text in NUMBER.split(shown.strip())
    )
    match = re.fullmatch(pattern, found.strip(), re.S)
    return match is None or any(
        abs(float(number) - float(other)) > units * 10.0 ** -len(number.partition(".")[2])
        for number, other in zip(numbers, match.groups(), strict=True)
    )
