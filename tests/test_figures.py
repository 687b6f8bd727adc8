"""Every number in the prose of README and of docs/ is computed on its page, drawn from results that the page names, or tested.

A number above 12, or with a decimal point, stands in the page's own code or what that shows (tests/test_docs.py runs it), or
rounds a value of a results file that the page links to; a percentage may be a fraction there. The others are listed here.
"""

import json
import re

import pytest
from support import ROOT
from support.prose import numbers, prose

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# names that hold numbers: versions, years of papers and books, formats, bits, processors
NAMES = re.compile(
    r"transformers (4\.57(\.\d)?|5)|\(4\.57 and 5\)|torch (2\.13\.0|2\.13)|PyTorch 2\.13|ONNX Runtime 1\.31|Python 3\.\d+"
    r"|sentence-transformers 5\.7|Ray 2\.60|Dask 2026\.8|SQuAD,? (version 1\.1 or )?2\.0|float(16|32|64)|bfloat16|AVX-512"
    r"|since 20\d\d|in 2019|from 1839 to 1930|(Higham|et al\.) \d{4}|sections? \d+\.\d+|tt-forge-onnx#2924"
    r"|SHA-256|\[\d\d (?=[A-Z])|\b50-digit|\b(16|32|64|80)[- ]bits?\b"
)
# page -> numbers, and what holds them
STATED = {
    "README.md": {
        "440 740": "test_readme.py counts the lines",
        "32 90": "test_readme.py compares them with cpu_forward.json",
    },
    "commands.md": {"130": "INTERRUPTED of the command line"},
    "fill-mask.md": {
        "8000 256 62": "the config of the embedded model; the books of its card",
    },
    "formats.md": {"340": "twelve times the layer, and the rest", "61 47 0.96 1.03 0.91 0.98": "test_exports below"},
    "from_transformers.md": {
        "100": "the label that is ignored",
        "256": "U+2B820 to U+2B91F",
    },
    "glossary.md": {"32 128 127": "the threads of a warp; the ends of int8"},
    "golden.md": {"100": "all of a budget"},
    "golden_amplification.md": {
        "36": "the code below it",
        "439 0.74 1.03 1.53 121 0.67 1.01 1.32 119 0.73 1.04 1.49 115 1.31 17": (
            "the slow tests of test_golden_amplification.py print them, and hold the ratios between 0.5 and 2"
        ),
    },
    "gpu.md": {
        "580": "the extra `cuda` of setup.cfg",
        "500": "tests of the first run, which was once",
        "3072": "I of ALBERT-base",
    },
    "golden_budgets.md": {
        "0.425 10000": "ROUNDING of golden/stochastic.py; a mask that others use",
        "768 60 3000 128 0.1": "sizes of test_golden_budgets.py",
        "0.03 0.23 0.65 0.73 0.07 0.12 0.16 0.13 0.10 0.09 0.06 0.04 0.50 0.49": "test_golden_budgets.py has the table",
    },
    "golden_mistakes.md": {
        "0.01 0.044715 0.1 610": "tools/list_mistakes.py writes the page, and a test makes it again"
    },
    "golden_packs.md": {"250000": "MAX_VALUES of golden/packs/c_header.py"},
    "golden_real_candidates.md": {
        "128": "the candidates' input",
        "5.5 8.48 3.2 4000": "test_golden_budgets.py has the places",
        "77": "products of ALBERT-base: 6 in each of 12 applications, and 5 outside",
    },
    "golden_report.md": {"24": "test_golden_report.py has a page of so many applications"},
    "notebooks.md": {"13 14": "the names of notebooks"},
    "pipelines.md": {"1839 1930": "the years of the books", "512 128": "max_position_embeddings"},
    "precision.md": {
        "127 255": "TOP of quantized.py; the largest code of an input",
        "80 97": "test_certificate.py counts the paragraphs; AGREEMENT of quantization/certificate.py",
    },
    "question-answering.md": {"15 64 384 128": "test_docs.py compares the defaults of options"},
    "scale.md": {
        "30": "the median length of the corpus of bench_embeddings.py",
        "25": "100,000 lines at the speed of the table",
        "2048": "TOKENS_AT_ONCE of pipelines/base.py",
        "9.9": "a table of distributed.json, in seconds",
    },
    "sentence-order.md": {"78": "evaluation.json of the embedded model", "0.5": "a half"},
    "training.md": {
        "0.8 1.3": "a parity test of test_cpu_bfloat16_training.py",
    },
    "troubleshooting.md": {"130 100": "INTERRUPTED of the command line; the label that is ignored"},
}


def walk(value):
    """All numbers of a JSON value."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from walk(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def prose_of(text):
    """Without what is drawn (test_site.py draws it again), code, and the names that hold numbers."""
    text = re.sub(r"<!-- drawn: (.*?) -->.*?<!-- end of \1 -->", " ", text, flags=re.S)
    return NAMES.sub(" ", prose(text))


def unheld(path):
    """The numbers of a page that nothing holds."""
    text = path.read_text()
    code = " ".join(re.findall(r"```.*?```|`[^`]*`", text, re.S)).replace(",", "")
    known = set(re.findall(r"\d+(?:\.\d+)?", code)) | set(" ".join(STATED.get(path.name, {})).split())
    results = set(re.findall(r"benchmarks/results/(\w+)\.(?:json|md)", text))
    values = [x for name in results for x in walk(json.loads((ROOT / f"benchmarks/results/{name}.json").read_text()))]
    found = []
    for number, percent in numbers(prose_of(text)):
        digits = len(number.partition(".")[2])
        rounded = (round(x * scale, digits) for x in values for scale in ((1, 100) if percent else (1,)))
        if number not in known and float(number) not in set(rounded):
            found.append(number)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_number_of_a_page_is_held_by_something(path):
    assert unheld(path) == []


def test_what_is_listed_is_on_its_page():
    for name, held in STATED.items():
        path = ROOT / name if name == "README.md" else ROOT / "docs" / name
        there = set(re.findall(r"\d+(?:\.\d+)?", prose_of(path.read_text())))
        assert set(" ".join(held).split()) <= there, name


def test_a_number_that_nothing_holds_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("It takes 0.403 s, or 17 % of 1,234 ms; three of 12 are `99`, and 99 again, in float32.\n")
    assert unheld(page) == ["0.403", "17", "1234"]
    page.write_text("It takes 0.403 s ([`cpu_start.json`](../benchmarks/results/cpu_start.json)), and not 0.404 s.\n")
    assert unheld(page) == ["0.404"]
    page.write_text("It takes 40 s, not 40 % ([`cpu_start.json`](../benchmarks/results/cpu_start.json)).\n")
    assert unheld(page) == ["40"]


def test_exports_are_as_large_and_as_fast_as_the_page_of_formats_says():
    found = json.loads((ROOT / "benchmarks" / "results" / "onnx_export.json").read_text())
    page = prose_of((ROOT / "docs" / "formats.md").read_text())
    older, newer = "torch, dynamo=False", "torch, dynamo=True"
    for name in (older, newer):
        assert f"{found['bytes'][name] / 1e6:.0f} MB from the {'older' if name == older else 'newer'}" in page
        ratios = [
            engines["albert_np"]["ms"][shape]["best"] / times["best"]
            for engines in found["threads"].values()
            for shape, times in engines[name]["ms"].items()
        ]
        assert f"{min(ratios):.2f} to {max(ratios):.2f} of " in page, ratios
