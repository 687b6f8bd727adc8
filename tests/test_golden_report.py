"""The page of a comparison: what stands in it, that a candidate can do nothing in it, and how it works in a browser."""

import dataclasses
import json
import re

import numpy as np
import pytest
from support import browser, needs
from support.pages import HOSTILE, NAMELESS, Page, assert_nothing_outside, assert_policy

import albert_np
from albert_np import cli, golden
from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like
from albert_np.golden.comparing.comparison import Comparison, Problem
from albert_np.golden.comparing.html import as_html
from albert_np.golden.graph import run
from albert_np.page.shell import embedded, escaped, visible

BAD = "encoder.layer.2.activation"
MOST_BYTES = 2_000_000
# scripts for the browser
ROWS = """[...document.querySelectorAll('#ops tbody tr')].filter((row) => !row.hidden)
    .map((row) => row.querySelector('th').innerText)"""
CHOOSE = """{{const select = document.getElementById('{}'); select.value = '{}';
    select.dispatchEvent(new Event('input', {{bubbles: true}}));}}"""


def plain(recording, steps):
    """What NumPy computes in float32."""
    weights = {name: x.astype(np.float32) for name, x in recording.weights.items()}
    given = {name: x.astype(np.float32) if x.dtype.kind == "f" else x for name, x in recording.batch.items()}
    return {name: x for name, x in run(steps, given, weights, Exact()).items() if not name.endswith("_embeddings")}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A recording, and a candidate in float32 whose GELU is the erf form in application 2; its folder."""
    folder = tmp_path_factory.mktemp("report")
    kind, changes, features = CASES["pretraining"]
    config = albert_np.AlbertConfig(**TINY | changes)
    model = getattr(albert_np, kind)(
        config, backend="numpy", dtype="float32", tensors=trained_like(config, PARTS[kind], 3)
    )
    call = {key: x for key, x in batch(config, kind, 5, **features).items() if key not in model.labels}
    recording = golden.record(model, call, folder / "goldens")
    steps = [
        dataclasses.replace(one, attributes={"name": "gelu"}) if one.name == BAD else one for one in recording.steps
    ]
    candidate = plain(recording, steps)
    np.savez(folder / "candidate.npz", **candidate)
    return recording, candidate, folder


@pytest.fixture(scope="module")
def comparison(case):
    return golden.compare(case[0], case[1])


def long(comparison, applications=24):
    """As many ops as a large model has, each as long as the longest."""
    inside = [one for one in comparison.ops if one.application == 1]
    ops = [
        dataclasses.replace(one, name=one.name.replace("layer.1.", f"layer.{a}."), application=a)
        for a in range(applications)
        for one in inside
    ]
    return dataclasses.replace(comparison, ops=tuple(ops))


# --- what stands in it ------------------------------------------------------------------------------------------------------


def test_the_verdict_the_op_its_module_and_the_precision_stand_in_the_page_without_a_script(comparison):
    page = Page(as_html(comparison))
    text = " ".join("".join(page.text).split())
    assert f"FAIL The first bad op is {BAD}" in text.replace("FAILThe", "FAIL The")
    assert comparison[BAD].module in text
    assert f"float32 ({comparison.precision_reason})" in text
    assert "1 of" in text
    assert "beyond the worst case" in text


def test_the_data_of_the_charts_are_those_of_the_comparison(comparison):
    data = Page(as_html(comparison)).data
    assert [one["name"] for one in data["ops"]] == [one.name for one in comparison.ops]
    assert data["first_bad_op"] == BAD
    (shown,) = (one for one in data["ops"] if one["name"] == BAD)
    right = comparison[BAD]
    for name in ("local", "inherited", "total", "local_rms", "golden_rms", "budget_share", "rms_share", "bias_share"):
        assert shown[name] == pytest.approx(getattr(right, name), rel=1e-4)
    for name in ("max_abs", "max_rel", "ulp_max", "ulp_mean", "snr", "nmse"):
        assert shown["metrics"][name] == pytest.approx(right.metrics[name], rel=1e-4)
    for name in ("cosine", "pcc"):  # the page shows what is left to 1
        assert shown["metrics"][name] == right.metrics[name]
    assert shown["histogram"] == right.histogram
    assert [one["index"] for one in shown["worst"]] == [one["index"] for one in right.worst]
    assert np.float32(shown["worst"][0]["got"]) == np.float32(right.worst[0]["got"])  # nine digits name a float32


def test_a_candidate_that_passes_says_so_and_which_op_uses_most(case):
    right = golden.compare(case[0], plain(case[0], case[0].steps))
    assert right.passed
    text = "".join(Page(as_html(right)).text)
    assert "No op is wrong" in text
    assert "uses most of what is allowed" in text


def test_missing_and_misshapen_tensors_have_a_place_and_their_own_words(case):
    recording, candidate, _ = case
    odd = dict(candidate) | {"encoder.layer.1.ffn": candidate["encoder.layer.1.ffn"][:, :1]}
    del odd["encoder.layer.3.attention.probs"]
    page = Page(as_html(golden.compare(recording, odd)))
    added = {one["name"]: one for one in page.data["ops"] if "message" in one}
    assert {name: (one["verdict"], one["application"]) for name, one in added.items()} == {
        "encoder.layer.1.ffn": ("shape", 1),
        "encoder.layer.3.attention.probs": ("missing", 3),
    }
    assert "2 problems" in page.text
    assert f": {added['encoder.layer.1.ffn']['message']}" in page.text


def test_nan_and_infinity_are_in_the_page_as_text(case):
    recording, candidate, _ = case
    odd = dict(candidate) | {BAD: np.full_like(candidate[BAD], np.nan), "pooler": candidate["pooler"] + np.inf}
    ops = {one["name"]: one for one in Page(as_html(golden.compare(recording, odd))).data["ops"]}
    assert ops[BAD]["local"] == "nan"
    assert ops["pooler"]["local"] == "inf"


def test_what_an_emulated_twin_says_is_in_the_page(case):
    page = Page(as_html(golden.compare(case[0], case[1], twin=True)))
    assert "beside an emulated twin" in page.text
    assert {one["three_way"] for one in page.data["ops"]} >= {"expected", "broken"}


def test_the_house_rules_are_a_table_if_they_are_given(comparison, case):
    rules = golden.card(case[1][BAD], case[0][BAD], dtype="float32")
    page = Page(as_html(comparison, rules=rules))
    assert {rule.name for rule in rules} <= set(page.text)
    assert "rules" in [attributes.get("id") for _, attributes in page.elements]
    assert "rules" not in [attributes.get("id") for _, attributes in Page(as_html(comparison)).elements]


# --- nothing from outside, and nothing from a candidate -----------------------------------------------------------------------


def test_the_page_refers_to_nothing_outside_itself(comparison):
    assert_nothing_outside(Page(as_html(comparison)))


def test_the_policy_allows_this_style_and_this_script_alone(comparison):
    assert_policy(Page(as_html(comparison)))


def hostile(comparison) -> Comparison:
    first = dataclasses.replace(comparison.ops[0], name=HOSTILE, module=HOSTILE, reason=HOSTILE, op=HOSTILE)
    return dataclasses.replace(
        comparison,
        ops=(first, *comparison.ops[1:]),
        first_bad_op=HOSTILE,
        precision_reason=HOSTILE,
        architecture=HOSTILE,
        problems=(Problem(HOSTILE, HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
        about={HOSTILE: HOSTILE},
    )


def test_hostile_names_stay_text(comparison):
    benign = dataclasses.replace(comparison, problems=(Problem("a", "extra", "b"),), notes=("c",), about={"d": "e"})
    text, page = as_html(hostile(comparison)), Page(as_html(hostile(comparison)))
    assert set(page.tags()) <= set(Page(as_html(benign)).tags())
    for tag in ("script", "style", "li", "dd"):
        assert page.tags().count(tag) == Page(as_html(benign)).tags().count(tag)
    assert page.data["first_bad_op"] == visible(HOSTILE)
    assert "window.hacked" in "".join(page.text)  # as a text that people can read
    assert "\u202e" not in text
    text.encode()  # no surrogate is left


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "a & b", "\u2028", "'\"", "ε → ½"])
def test_embedded_json_is_the_value_and_has_no_character_that_html_reads(text):
    json_text = embedded({"name": [text]})
    assert json.loads(json_text) == {"name": [visible(text)]}
    assert not set(json_text) & set("<>&\u2028\u2029")


def test_escaped_text_is_short_and_can_be_seen():
    assert escaped("a\u202eb<i>\n") == "a\\u202eb&lt;i&gt;\\u000a"
    assert len(visible("x" * 10**6)) < 1000


def test_the_page_of_a_large_model_with_a_hundred_thousand_problems_is_small(comparison):
    many = tuple(
        Problem("x" * 2000 + str(i), "extra", "the recording has no tensor of that name") for i in range(10**5)
    )
    large = dataclasses.replace(long(comparison), problems=many)
    assert len(large.ops) >= 300
    assert len(as_html(large).encode()) < MOST_BYTES


# --- the command line -------------------------------------------------------------------------------------------------------


def test_compare_and_report_write_the_same_page(case, tmp_path, capsys):
    folder = case[2]
    arguments = [str(folder / "goldens"), str(folder / "candidate.npz")]
    assert cli.main(["golden", "compare", *arguments, "--report", str(tmp_path / "one.html")]) == 1
    capsys.readouterr()
    assert cli.main(["golden", "report", *arguments, "-o", str(tmp_path / "two.html")]) == 1
    assert capsys.readouterr().out == f"FAIL: the first bad op is {BAD}\n{tmp_path / 'two.html'}\n"
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_report_has_the_house_rules_of_a_tensor_and_refuses_a_name_that_is_none(case, tmp_path, capsys):
    folder, path = case[2], tmp_path / "page.html"
    command = ["golden", "report", str(folder / "goldens"), str(folder / "candidate.npz"), "-o", str(path), "--json"]
    assert cli.main([*command, "--rules", "predictions.decoder"]) == 1
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "verdict": "fail", "first_bad_op": BAD}
    assert "Tenstorrent PCC" in Page(path.read_text()).text
    assert cli.main([*command, "--rules", "logits"]) == 2
    assert "the recording has none called 'logits'" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_refused(comparison, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        golden.report(comparison, tmp_path / "file" / "page.html")
    assert golden.report(comparison, tmp_path / "page.html") == tmp_path / "page.html"


# --- in a browser -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program = browser.found() or needs.missing("browser", "no Chromium is installed")
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


def shown(page):
    return page.evaluate("document.getElementById('details-title').textContent")


def opened(page, comparison, folder, width=1280, **how):
    page.resize(width, 900, **how)
    path = golden.report(comparison, folder / "page.html")
    page.open(path)
    return path


def test_a_browser_loads_nothing_but_the_page_and_complains_of_nothing(chromium, comparison, tmp_path):
    path = opened(chromium, comparison, tmp_path)
    chromium.press("Tab")
    assert [url for url in chromium.requests() if not url.startswith("data:")] == [path.resolve().as_uri()]
    assert chromium.complaints() == []
    assert chromium.evaluate("document.querySelector('h1').innerText") == f"The first bad op is {BAD}"
    inside = (
        "(({top, bottom}) => top >= 0 && bottom < innerHeight)(document.querySelector('h1').getBoundingClientRect())"
    )
    assert chromium.evaluate(inside)
    assert shown(chromium) == BAD  # what is wrong is open from the start
    assert chromium.evaluate(f"document.querySelector('[data-name=\"{BAD}\"]').className") == "cell outside fail first"
    assert chromium.evaluate("document.querySelectorAll('.cell.outside').length") == 1
    assert chromium.evaluate("document.querySelectorAll('#depth path.dot.outside').length") == 1


def test_arrow_keys_choose_ops_in_the_map_and_in_the_chart(chromium, comparison, tmp_path):
    opened(chromium, comparison, tmp_path)
    chromium.evaluate(f"document.querySelector('[data-name=\"{BAD}\"]').focus()")
    chromium.press("ArrowRight")
    assert shown(chromium) == "encoder.layer.3.activation"
    chromium.press("ArrowUp")
    assert shown(chromium) == "encoder.layer.3.ffn"
    assert chromium.evaluate("document.activeElement.dataset.name") == "encoder.layer.3.ffn"
    assert "encoder.layer.3.ffn" in chromium.evaluate("document.getElementById('status').textContent")
    chromium.press("Home")
    assert shown(chromium) == "encoder.layer.0.ffn"
    chromium.evaluate("document.getElementById('depth').focus()")
    chromium.press("ArrowRight")
    assert shown(chromium) == "encoder.layer.0.activation"
    assert "encoder.layer.0.activation: inside" in chromium.evaluate(
        "document.getElementById('depth').getAttribute('aria-valuetext')"
    )


def test_every_control_has_a_name_and_can_be_reached(chromium, comparison, tmp_path):
    opened(chromium, comparison, tmp_path)
    assert chromium.evaluate(NAMELESS) == []
    assert chromium.evaluate("document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 1


def test_filters_leave_the_rows_that_they_name(chromium, comparison, tmp_path):
    opened(chromium, comparison, tmp_path)
    assert chromium.evaluate(ROWS) == [one.name for one in comparison.ops]
    chromium.evaluate("document.getElementById('only-outside').click()")
    assert chromium.evaluate(ROWS) == [BAD]
    chromium.evaluate("document.getElementById('only-outside').click()")
    chromium.evaluate(CHOOSE.format("filter-kind", "probs"))
    chromium.evaluate(CHOOSE.format("filter-application", "3"))
    assert chromium.evaluate(ROWS) == ["encoder.layer.3.attention.probs"]
    chromium.evaluate(CHOOSE.format("depth-kind", "activation"))
    assert chromium.evaluate("document.querySelectorAll('#depth .dot').length") == 5  # the head has one too


def test_hostile_names_run_nothing_and_what_they_would_load_is_refused(chromium, comparison, tmp_path):
    path = opened(chromium, hostile(comparison), tmp_path)
    chromium.press("Tab")
    assert chromium.evaluate("typeof window.hacked") == "undefined"
    assert chromium.evaluate("document.images.length") == 0
    assert shown(chromium) == visible(HOSTILE)
    assert chromium.complaints() == []
    injected = (
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))"
    )
    chromium.evaluate(injected)
    assert chromium.evaluate("typeof window.hacked") == "undefined"  # should one come in, the policy stops it
    assert chromium.evaluate("fetch('data:,x').then(() => 'loaded', () => 'refused')") == "refused"
    assert [url for url in chromium.requests() if url.startswith(("http", "file"))] == [path.resolve().as_uri()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways_and_text_stands_out(chromium, comparison, tmp_path, dark):
    opened(chromium, long(comparison), tmp_path, width=390, dark=dark)
    assert chromium.evaluate("document.documentElement.scrollWidth") == 390
    colours = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in chromium.evaluate(colours))
    assert (ink > 0.85 and paper < 0.15) if dark else (ink < 0.15 and paper > 0.85)
