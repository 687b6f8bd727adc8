"""The explorer in a browser: a reader clicks through it, and every number that is shown is the model's."""

import re

import numpy as np
import pytest
from support import browser, needs
from support.pages import HOSTILE, NAMELESS

import albert_np
from albert_np import AlbertForPreTraining, AlbertTokenizer, ops

TEXT = "There was a knock at the [MASK] and a boy came in."
WIDTHS = {"wide": 1280, "narrow": 360}
# scripts for the browser
TEXT_OF = "document.getElementById('{}').innerText"
CELL = "document.querySelectorAll('#grid tbody tr')[{}].querySelectorAll('button')[{}]"
HEAD = "document.querySelectorAll('#heads tbody tr')[{}].querySelectorAll('button')[{}]"
GUESSES = """[...document.querySelectorAll('#guesses li')].map((row) =>
    [row.querySelector('.mono').innerText, row.querySelector('.number').innerText])"""
LOOKS = "[...document.querySelectorAll('#looks text.number')].map((one) => one.textContent)"
OP = "document.querySelector('#drawing [data-part=\"{}\"]')"
# what the text of an element has for contrast: its colour and the nearest background that is no mere veil
CONTRASTS = """Promise.all(document.getAnimations().map((one) => one.finished)).then(() => {
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const parse = (text) => text.startsWith('color') ? numbers(text).map((x, i) => i < 3 ? 255 * x : x) : numbers(text);
  const light = ([r, g, b]) => [r, g, b].map((x) => x / 255).map((x) => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('button, p, h1, h2, h3, td, th, dd, dt, b, mark, summary, svg text')].filter((one) =>
    one.textContent.trim() && one.getBoundingClientRect().width).map((one) => {
      const {fill, color} = getComputedStyle(one), ink = one.ownerSVGElement ? fill : color;
      const [a, b] = [light(parse(ink)), light(behind(one))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), one.outerHTML.slice(0, 200)];
    });
})"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    program = browser.found() or needs.missing("browser", "no Chromium is installed")
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def tokenizer():
    return AlbertTokenizer.from_pretrained("demo")


@pytest.fixture(scope="module")
def out(tokenizer):
    model = AlbertForPreTraining.from_pretrained("demo", backend="numpy", dtype="float64")
    return model(
        **tokenizer(TEXT, return_tensors="np"), trace="unfused", output_attentions=True, output_hidden_states=True
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return albert_np.explore(TEXT).save(tmp_path_factory.mktemp("page") / "page.html")


def click(page, script):
    page.evaluate(f"{script}.click()")


def percent(x):
    return "<\u00a00.1\u00a0%" if round(1000 * x) == 0 else f"{round(1000 * x) / 10:.1f}\u00a0%"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_reader_clicks_through_it_and_sees_the_models_numbers(chromium, path, out, tokenizer, width, dark):
    chromium.resize(WIDTHS[width], 900, dark=dark)
    chromium.open(path)
    p = ops.softmax(out.prediction_logits[0])
    assert chromium.evaluate(TEXT_OF.format("headline")) == TEXT
    assert f"ALBERT’s answer: door ({percent(p[7].max())})" in chromium.evaluate(TEXT_OF.format("answer"))

    click(chromium, CELL.format(7, 6))  # the guesses for [MASK] at the end
    best = np.argsort(-p[7])[:5]
    pieces = tokenizer.convert_ids_to_tokens(best.tolist())
    assert chromium.evaluate(GUESSES) == [[piece, percent(p[7, k])] for piece, k in zip(pieces, best, strict=True)]
    click(chromium, CELL.format(4, 6))  # and for a word that is there
    rank = 1 + np.sum(p[4] > p[4, 3360])
    assert f"is guess {rank} of 8,000: {percent(p[4, 3360])}" in chromium.evaluate(TEXT_OF.format("guesses"))

    click(chromium, HEAD.format(1, 0))  # heads are counted from 0, applications from 1
    assert chromium.evaluate(TEXT_OF.format("look-title")) == "Head 1 in application 1"
    shares = out.attentions[0][0, 1, 4]
    assert chromium.evaluate(LOOKS) == [percent(x) if round(1000 * x) >= 5 else "" for x in shares]
    assert "looks mostly at the token after" in chromium.evaluate(TEXT_OF.format("habit"))

    x, y = (out.hidden_states[d][0, 4] for d in (0, 1))  # how far application 1 moves the same word
    moved, kept = np.linalg.norm(y - x), x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    for part, right in (("distance", moved), ("cosine", kept)):
        assert f"Application 1: “knock” {right:.4g}, " in chromium.evaluate(TEXT_OF.format(part))
    counts = "[...document.querySelectorAll('#counts div')].map((one) => one.title)"
    assert chromium.evaluate(counts)[:2] == ["1,971,138", "789,760"]  # as the model's card says

    for part in ("attention.scores", "ffn", "full_layer_layer_norm", "predictions.decoder", "pooler"):
        click(chromium, OP.format(part))
        name = part if part.startswith("p") else f"encoder.layer.0.{part}"
        x = out.trace[name][0]
        row = x if x.ndim == 1 else x[:, 4].ravel() if x.ndim == 3 else x[4]
        shown = chromium.evaluate("document.querySelector('#box .values').innerText").replace("−", "-").split()
        assert [float(text) for text in shown[:5]] == [float(f"{v:.4g}") for v in row[:5]]
        assert chromium.evaluate("document.querySelector('#box pre').innerText").lstrip("0123456789").startswith("def ")
        assert chromium.evaluate("document.querySelector('#box .formula').innerText")

    assert chromium.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
    assert [url for url in chromium.requests() if not url.startswith("data:")] == [path.resolve().as_uri()]
    assert chromium.complaints() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_background(chromium, path, dark):
    chromium.resize(1280, 900, dark=dark)
    chromium.open(path)
    faint = [(round(ratio, 2), what) for ratio, what in chromium.evaluate(CONTRASTS) if ratio < 4.5]
    assert faint == []


def test_play_goes_through_all_depths_and_ends(chromium, path):
    chromium.resize(1280, 900)
    chromium.open(path)
    chromium.evaluate(
        "window.setInterval = (step) => { window.step = step; return 1; }; window.clearInterval = () => {};"
    )
    depth = "Number(document.getElementById('depth').value)"
    assert chromium.evaluate(depth) == 6
    click(chromium, "document.getElementById('play')")
    seen = [chromium.evaluate(depth)]
    while chromium.evaluate(TEXT_OF.format("play-text")) == "Stop":
        chromium.evaluate("window.step()")
        seen.append(chromium.evaluate(depth))
    assert seen == [0, 1, 2, 3, 4, 5, 6]
    assert chromium.evaluate("document.querySelectorAll('.time.done').length") == 6
    click(chromium, "document.getElementById('play')")
    click(chromium, CELL.format(2, 3))  # a choice of the reader's stops it
    assert chromium.evaluate(TEXT_OF.format("play-text")) == "Play"
    assert chromium.evaluate(depth) == 3
    assert chromium.complaints() == []


def test_nothing_plays_without_a_click(chromium, path):
    chromium.open(path)
    assert (
        chromium.evaluate("new Promise((done) => setTimeout(() => done(document.getElementById('depth').value), 1500))")
        == "6"
    )


def test_arrow_keys_move_through_tokens_guesses_heads_and_steps(chromium, path):
    chromium.resize(1280, 900)
    chromium.open(path)
    chromium.evaluate(f"{CELL.format(7, 6)}.focus()")
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft"):
        chromium.press(key)
    assert chromium.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "the, after application 4: "
    )
    assert chromium.evaluate(TEXT_OF.format("race-title")) == "Guesses for “the” over depth"
    chromium.evaluate(f"{HEAD.format(0, 3)}.focus()")
    chromium.press("ArrowDown")
    chromium.press("ArrowRight")
    assert "in application 5" in chromium.evaluate(TEXT_OF.format("look-title"))
    chromium.evaluate("document.querySelector('#strip [aria-pressed=true]').focus()")
    chromium.press("ArrowRight")
    assert chromium.evaluate("document.activeElement.innerText") == "[MASK]"
    chromium.press("Home")
    assert chromium.evaluate("document.activeElement.innerText") == "[CLS]"
    chromium.evaluate(f"{OP.format('attention.probs')}.focus()")
    chromium.press("ArrowDown")
    assert chromium.evaluate("document.querySelector('.box-title').innerText") == "mix of values in application 5 of 6"
    chromium.evaluate("document.getElementById('depth').focus()")
    chromium.press("Home")
    assert chromium.evaluate(TEXT_OF.format("depth-text")) == "before the layer (0 of 6)"


def test_the_tab_key_finds_every_part_and_few_stops(chromium, path):
    chromium.open(path)
    stops = []
    for _ in range(60):
        chromium.press("Tab")
        stop = chromium.evaluate(
            "document.activeElement === document.body ? '' : document.activeElement.closest('[id]').id"
        )
        if not stop or (stop == stops[:1] and len(stops) > 1):
            break
        stops.append(stop)
    assert {"strip", "play", "depth", "pieces", "grid", "heads", "every", "drawing", "box"} <= set(stops)
    assert max(stops.count(name) for name in ("strip", "pieces", "grid", "heads")) == 1


def test_every_control_has_a_name(chromium, path):
    chromium.open(path)
    assert chromium.evaluate(NAMELESS) == []
    pictures = "document.querySelectorAll('svg[role=img]:not([aria-label], [aria-labelledby])').length"
    assert chromium.evaluate(pictures) == 0


def test_who_wants_less_motion_gets_none(chromium, path):
    chromium.resize(1280, 900)
    how = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    chromium.call("Emulation.setEmulatedMedia", features=how)
    chromium.open(path)
    moving = """[...document.querySelectorAll('*')].filter((one) =>
        getComputedStyle(one).transitionDuration !== '0s' || getComputedStyle(one).animationName !== 'none').length"""
    assert chromium.evaluate(moving) == 0
    chromium.resize(1280, 900)
    assert chromium.evaluate(moving) > 0


def test_all_looks_can_be_drawn_and_heads_worth_a_look_are_named(chromium, path, out):
    chromium.resize(1280, 900)
    chromium.open(path)
    lines = "document.querySelectorAll('#looks .look').length"
    assert chromium.evaluate(lines) == 15
    click(chromium, "document.getElementById('every')")
    assert chromium.evaluate(lines) == 15 * 15
    found = "[...document.querySelectorAll('#finds button')].map((one) => one.innerText)"
    first, *_ = chromium.evaluate(found)
    application, head = (int(x) for x in re.search(r"head\s(\d+) in application\s(\d+)", first).groups()[::-1])
    before = [np.diagonal(p[0], -1, 1, 2).mean(-1) for p in out.attentions]
    assert np.unravel_index(np.argmax(before), (6, 8)) == (application - 1, head)
    assert first.endswith(f"\u00a0{100 * np.max(before):.1f}\u00a0%")
    click(chromium, "document.querySelector('#finds button')")
    assert chromium.evaluate(TEXT_OF.format("look-title")) == f"Head {head} in application {application}"


def test_a_step_that_is_chosen_on_a_phone_comes_into_sight_and_leads_back(chromium, path):
    chromium.resize(380, 800)
    chromium.open(path)
    top = "document.querySelector({}).getBoundingClientRect().top"
    how = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    chromium.call("Emulation.setEmulatedMedia", features=how)
    chromium.evaluate(f"{OP.format('attention.query')}.scrollIntoView({{block: 'center'}})")
    click(chromium, OP.format("attention.query"))
    assert 0 < chromium.evaluate(top.format("'.box-title'")) < 400
    click(chromium, "document.querySelector('.back')")
    assert 0 < chromium.evaluate(top.format("'#drawing [aria-pressed=true]'")) < 800
    chromium.resize(1280, 900)


def test_letters_of_a_formula_are_explained(chromium, path):
    chromium.resize(1280, 900)
    chromium.open(path)
    facts = "[...document.querySelectorAll('#box .facts dt')].map((one) => one.innerText)"
    for part, letters in {
        "attention.scores": ["result", "T", "N", "D", "work"],
        "ffn": ["result", "x", "W, b", "T", "H", "I", "work"],
        "predictions.decoder": ["result", "x", "T", "V", "work"],
        "embeddings.sum": ["result", "T", "E"],
    }.items():
        click(chromium, OP.format(part))
        assert chromium.evaluate(facts) == letters


def test_a_row_of_steps_says_which_come_one_after_the_other(chromium, path):
    chromium.open(path)
    rows = "[...document.querySelectorAll('#drawing .line')].map((one) => one.innerText.replace(/\\s+/g, ' '))"
    shown = [re.sub(r" \d+( × \d+)*", "", row) for row in chromium.evaluate(rows)]
    assert shown[:3] == ["word row segment row position row", "sum → LayerNorm", "projection"]
    assert {"query key value", "scores → softmax", "widen → GELU → narrow"} <= set(shown)


def test_hostile_text_runs_nothing(chromium, tmp_path):
    hostile = HOSTILE[:62]
    path = albert_np.explore(f"{hostile} [MASK]").save(tmp_path / "page.html")
    chromium.open(path)
    assert chromium.evaluate("typeof window.hacked") == "undefined"
    assert chromium.evaluate("document.images.length") == 0
    assert chromium.evaluate(TEXT_OF.format("headline")).startswith("</script>")
    assert chromium.complaints() == []
    assert chromium.evaluate("fetch('data:,x').then(() => 'loaded', () => 'refused')") == "refused"


@pytest.mark.parametrize("model", ["demo-names", "demo-speech"])
def test_models_for_tasks_have_a_page_too(chromium, tmp_path, model):
    chromium.resize(360, 800)
    chromium.open(albert_np.explore("Emily wrote to Charlotte.", model).save(tmp_path / "page.html"))
    assert chromium.evaluate("document.getElementById('lens').hidden") == (model == "demo-speech")
    assert chromium.evaluate("document.documentElement.scrollWidth") == 360
    assert chromium.complaints() == []


def test_a_notebooks_frame_shows_it(chromium, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(
        f"<!doctype html><meta charset='utf-8'>{albert_np.explore('A [MASK].')._repr_html_()}", encoding="utf-8"
    )
    chromium.resize(1000, 900)
    chromium.open(path)
    assert chromium.complaints() == []
    frame = next(one for one in chromium.call("Target.getTargets")["targetInfos"] if one["type"] == "iframe")
    page, chromium._session = chromium._session, ""
    try:
        inside = chromium.call("Target.attachToTarget", targetId=frame["targetId"], flatten=True)["sessionId"]
        chromium._session = inside
        assert chromium.evaluate(TEXT_OF.format("headline")) == "A [MASK]."
        assert chromium.evaluate("document.querySelectorAll('#grid button').length") == 6 * 7
        assert chromium.evaluate("origin") == "null"
    finally:
        chromium._session = page
