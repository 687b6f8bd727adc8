"""The tools that train, judge and pack the embedded model, on a made-up corpus and a model that trains in seconds."""

import collections
import json
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, unmeasured

sys.path.insert(0, str(ROOT / "tools"))

import demo_corpus
import evaluate_demo
import pack_demo
import train_demo
from demo_counts import SMOOTHING, NeighbourCounts, rank

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.formats import safetensors as safetensors_format
from albert_np.training.checkpoints import latest_checkpoint

HEADER = (
    "| repository | bytes | words | chapters/tales | paragraphs | title | author | commit | what is in |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
TINY = {
    "vocab_size": 60, "embedding_size": 8, "hidden_size": 16, "layers": 2, "heads": 2, "max_length": 32, "batch_size": 2,
    "steps": 6, "warmup_steps": 2, "cooldown_steps": 2, "evaluate_every": 3, "evaluation_batches": 2, "save_every": 3,
    "log_every": 2,
}  # fmt: skip


SYLLABLES = ["ba", "do", "ki", "lu", "me", "no", "ri", "sa", "tu"]
WORDS = [*SYLLABLES, *(a + b for a in SYLLABLES for b in SYLLABLES[::3])]


def sentence(rng):
    """Words each of which follows the one before from a choice of two: something to count."""
    at = [rng.randrange(len(WORDS))]
    while len(at) < rng.randint(3, 9):
        at.append((7 * at[-1] + rng.randint(1, 2)) % len(WORDS))
    words = [WORDS[i] for i in at]
    return " ".join(words).capitalize() + rng.choice(".?!")


def write_corpus(folder, names):
    """Books of two to four chapters in a file of their own kind, and their list in two tables, as BOOKS.md is."""
    rng = random.Random(3)
    text, rows = "", []
    for number, name in enumerate(names):
        chapters = [
            "\n".join(" ".join(sentence(rng) for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(2, 6)))
            for _ in range(2 + number % 3)
        ]
        book = "".join(chapter + "\n\n" for chapter in chapters)
        lines = [line for line in book.split("\n") if line]
        sizes = len(book.encode()), len(book.split()), len(chapters), len(lines)
        cells = " | ".join(map(str, sizes))
        rows.append(f"| {name} | {cells} | Book {number} | Author {number // 2} | abc | whole |\n")
        text += book
    (folder / "corpus.txt").write_text(text)
    (folder / "BOOKS.md").write_text(
        f"# Books\n\n### One\n\n{HEADER}{''.join(rows[:3])}\n### Two\n\n{HEADER}{''.join(rows[3:])}"
    )
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten books, the last four of which have the names of those that the recipe holds out."""
    names = [*(f"books/{letter}" for letter in "abcdef"), *demo_corpus.HELD_OUT]
    return write_corpus(tmp_path_factory.mktemp("corpus"), names)


def arguments(corpus, output, **changes):
    given = ["--corpus", str(corpus / "corpus.txt"), "--books", str(corpus / "BOOKS.md"), "--output", str(output)]
    for name, value in ({"backend": "numpy"} | TINY | changes).items():
        option = f"--{name.replace('_', '-')}"
        given += [option] if value is True else [option, str(value)]
    return given


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train_demo.train(train_demo.parser().parse_args(arguments(corpus, folder)))
    return folder


@pytest.fixture(scope="module")
def checkpoint(trained):
    return trained / "checkpoint-6"


@pytest.fixture(scope="module")
def judged(corpus, checkpoint, tmp_path_factory):
    """(training text in tokens, held-out books) for the checkpoint's vocabulary."""
    given = ["--corpus", str(corpus / "corpus.txt"), "--books", str(corpus / "BOOKS.md")]
    parser = evaluate_demo.argparse.ArgumentParser()
    evaluate_demo.add_options(parser)
    folder = tmp_path_factory.mktemp("parts")
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    training, books, _ = evaluate_demo.read_corpus(parser.parse_args(given), folder, tokenizer, False)
    return training, books


# ------------------------------------------------------------------------------------------------------------- the books


def test_books_are_parted_whole_and_in_their_order(corpus, tmp_path):
    parts = demo_corpus.part(corpus / "corpus.txt", corpus / "BOOKS.md", tmp_path, ["books/b", "books/f"])
    books = demo_corpus.read_books(corpus / "BOOKS.md")
    assert [book.name for book in books][:3] == ["books/a", "books/b", "books/c"]
    whole = (corpus / "corpus.txt").read_text()
    texts, rest = {}, whole
    for book in books:  # by bytes, where the tool counts chapters
        texts[book.name], rest = rest[: book.bytes], rest[book.bytes :]
    assert parts.held_out.read_text() == texts["books/b"] + texts["books/f"]
    others = [text for name, text in texts.items() if name not in ("books/b", "books/f")]
    assert parts.training.read_text() == "".join(others)
    facts = parts.facts["held_out"]
    assert facts["titles"] == [
        {"title": "Book 1", "author": "Author 0", "others_by_the_author": 1},
        {"title": "Book 5", "author": "Author 2", "others_by_the_author": 1},
    ]
    assert facts["words"] + parts.facts["training"]["words"] == len(whole.split()) == sum(book.words for book in books)


def edited(corpus, tmp_path, change_text=lambda text: text, change_list=lambda text: text):
    (tmp_path / "corpus.txt").write_text(change_text((corpus / "corpus.txt").read_text()))
    (tmp_path / "BOOKS.md").write_text(change_list((corpus / "BOOKS.md").read_text()))
    return tmp_path


def backwards(text):
    """Its chapters from the last to the first."""
    return "".join(chapter + "\n\n" for chapter in reversed(text.split("\n\n")[:-1]))


@pytest.mark.parametrize(
    ("change_text", "change_list", "message"),
    [
        (lambda text: text[len(text) // 2 :], str, "have 29: it is not the corpus"),
        (lambda text: text.rstrip("\n"), str, "and a rest; the 10 books listed have 29"),
        (lambda text: text.replace("\n\n", "\n\n\n\n", 1), str, "30 chapters .* listed have 29"),
        (backwards, str, r"Book \d \(Author \d\) has .* and"),
        (
            lambda text: text.replace("\n\n", "\nToo much.\n\n", 1),
            str,
            r"Book 0 \(Author 0\) has .* bytes and the list says",
        ),
        (str, lambda text: text.replace("| 2 |", "| two |", 1), r"BOOKS.md line \d+: a book has repository, bytes"),
        (str, lambda text: "nothing", "lists no books: a table with the columns repository"),
        (str, lambda text: text.replace(demo_corpus.HELD_OUT[0], "x"), r"BOOKS.md has no .*baskervilles: name some"),
    ],
)
def test_another_corpus_or_list_is_refused_and_nothing_is_written(corpus, tmp_path, change_text, change_list, message):
    folder = edited(corpus, tmp_path, change_text, change_list)
    with pytest.raises(ValueError, match=message):
        demo_corpus.part(folder / "corpus.txt", folder / "BOOKS.md", folder / "parts")
    assert not (folder / "parts").exists()


def test_all_books_or_none_cannot_be_held_out(corpus, tmp_path):
    names = [book.name for book in demo_corpus.read_books(corpus / "BOOKS.md")]
    for held_out in (names, []):
        with pytest.raises(ValueError, match="name some of its books, and not all"):
            demo_corpus.part(corpus / "corpus.txt", corpus / "BOOKS.md", tmp_path, held_out)


def test_missing_files_are_named(corpus, tmp_path, capsys):
    assert train_demo.main([*arguments(corpus, tmp_path / "run"), "--corpus", str(tmp_path / "none.txt")]) == 1
    assert "there is no file" in capsys.readouterr().err
    assert train_demo.main([*arguments(corpus, tmp_path / "run"), "--books", str(tmp_path / "none.md")]) == 1
    assert "comes with the corpus, BOOKS.md" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ the recipe


def test_the_recipe_leaves_a_checkpoint_and_says_what_it_did(trained, checkpoint):
    model = AlbertForPreTraining.from_pretrained(checkpoint)
    c = model.config
    assert (c.vocab_size, c.embedding_size, c.hidden_size, c.intermediate_size) == (60, 8, 16, 64)
    note = json.loads((trained / "recipe.json").read_text())
    assert note["recipe"]["learning_rate"] == 1e-3
    assert note["corpus"]["held_out"]["books"] == 4
    assert {"output", "corpus", "resume"}.isdisjoint(note["recipe"])


def test_the_vocabulary_has_seen_the_training_text_alone(corpus, tmp_path):
    """A letter that only held-out books have is no piece."""
    books = demo_corpus.read_books(corpus / "BOOKS.md")
    before = sum(book.bytes for book in books[:6])
    text = (corpus / "corpus.txt").read_text()
    folder = edited(corpus, tmp_path, lambda _: text[:before] + text[before:].replace("u", "q"))
    train_demo.train(train_demo.parser().parse_args(arguments(folder, tmp_path / "run", stop_at=1)))
    pieces = AlbertTokenizer.from_pretrained(tmp_path / "run" / "checkpoint-1").get_vocab()
    assert any("u" in piece for piece in pieces)
    assert not any("q" in piece for piece in pieces)


def test_the_learning_rate_is_a_trapezoid():
    rate = train_demo.Trapezoid(2.0, 4, 5, 20)
    assert [rate(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert [rate(step) for step in range(14, 22)] == pytest.approx([2.0, 2.0, 1.6, 1.2, 0.8, 0.4, 0, 0])
    assert train_demo.Trapezoid(2.0, 0, 0, 3)(2) == 2.0
    with pytest.raises(ValueError, match="a warm-up of 4 steps and a cool-down of 5 do not fit into 8 steps"):
        train_demo.Trapezoid(2.0, 4, 5, 8)
    with pytest.raises(ValueError, match="finite number above 0; got 0"):
        train_demo.Trapezoid(0, 4, 5, 20)


@pytest.mark.slow
def test_200_steps_have_the_same_bits_twice_and_across_a_kill(corpus, tmp_path):
    """The recipe as a command, on the kernels of training where they are; killed as no process can prevent, and resumed."""
    options = {"stop_at": 200, "steps": 400, "save_every": 25, "evaluate_every": 50, "backend": "auto"}

    def command(folder, **more):
        given = arguments(corpus, tmp_path / folder, **options | more)
        return [sys.executable, str(ROOT / "tools" / "train_demo.py"), *given]

    quiet = {"env": unmeasured(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for folder in ("first", "second"):
        subprocess.run(command(folder), check=True, **quiet)
    killed = subprocess.Popen(command("killed"), **quiet)
    deadline = time.monotonic() + 300
    while latest_checkpoint(tmp_path / "killed") is None:
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert latest_checkpoint(tmp_path / "killed").step < 200
    subprocess.run(command("killed", resume=True), check=True, **quiet)
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, *others = (
            (tmp_path / folder / "checkpoint-200" / name).read_bytes() for folder in ("first", "second", "killed")
        )
        assert others == [first, first]


# ---------------------------------------------------------------------------------------------------------- the baseline


def brute_force(paragraphs, V, before, after, left, right):
    """p(w|left) p(w|right) / p(w) for every w, from dictionaries; p(w|left) where right is None."""
    single, pairs = collections.Counter(), collections.Counter()
    for paragraph in paragraphs:
        single.update(paragraph)
        pairs.update(zip([before, *paragraph], [*paragraph, after], strict=True))
    total = sum(single.values())
    p = [(single[w] + SMOOTHING) / (total + SMOOTHING * V) for w in range(V)]
    by_left = [
        (pairs[left, w] + SMOOTHING * p[w]) / (sum(n for (a, _), n in pairs.items() if a == left) + SMOOTHING)
        for w in range(V)
    ]
    if right is None:
        return by_left
    by_right = [
        (pairs[w, right] + SMOOTHING * p[w]) / (sum(n for (_, b), n in pairs.items() if b == right) + SMOOTHING)
        for w in range(V)
    ]
    return [a * b / c for a, b, c in zip(by_left, by_right, p, strict=True)]


def test_counts_are_those_of_dictionaries():
    V, before, after = 12, 2, 3
    rng = random.Random(1)
    paragraphs = [[rng.choice([5, 6, 6, 7, 8, 9, 10]) for _ in range(rng.randint(1, 9))] for _ in range(30)]
    starts = np.cumsum([0, *map(len, paragraphs)])
    counts = NeighbourCounts(np.concatenate(paragraphs).astype(np.uint16), starts, V, before, after)
    assert counts.probabilities.sum() == pytest.approx(1)
    for left in (before, 5, 6, 9, 11):  # 11 stands nowhere
        for right in (after, 6, 8, 11):
            expected = np.array(brute_force(paragraphs, V, before, after, left, right))
            scores = counts.scores(left, right)
            assert scores / scores.sum() == pytest.approx(expected / expected.sum(), rel=1e-12)
    known = counts.scores(5, None) / counts.scores(5, None).sum()
    assert known == pytest.approx(brute_force(paragraphs, V, before, after, 5, None), rel=1e-12)


def test_rank_counts_what_comes_before_and_ties_by_number():
    scores = np.array([0.1, 0.5, 0.5, 0.9, 0.1])
    assert [rank(scores, answer) for answer in range(5)] == [3, 1, 2, 0, 4]


# -------------------------------------------------------------------------------------------------------------- the judge


def test_masks_are_single_tokens_of_each_paragraph(checkpoint, judged):
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    _, books = judged
    examples = evaluate_demo.masked_paragraphs(tokenizer, list(books.values()), 32, 0)
    texts = [(number, text) for number, paragraphs in enumerate(books.values()) for text in paragraphs]
    encoded = [(number, tokenizer(text)["input_ids"]) for number, text in texts]
    encoded = [(number, ids) for number, ids in encoded if len(ids) > 5]
    assert len(examples) == len(encoded)
    assert any(len(ids) > 32 for _, ids in encoded)
    for example, (book, ids) in zip(examples, encoded, strict=True):
        cut = ids if len(ids) <= 32 else [*ids[:31], ids[-1]]
        assert (example.book, example.ids.tolist()) == (book, cut)
        assert len(set(example.at.tolist())) == len(example.at) == int(0.15 * (len(cut) - 2) + 0.5)
        assert not set(example.ids[example.at]) & set(tokenizer.all_special_ids)
        for at, (left, right) in zip(example.at, example.neighbours, strict=True):
            assert (left, right) == (ids[at - 1], ids[at + 1])
        beside = [[at - 1 in example.at, at + 1 in example.at] for at in example.at]
        assert example.hidden.tolist() == beside
    assert any(example.hidden.any() for example in examples)
    again = evaluate_demo.masked_paragraphs(tokenizer, list(books.values()), 32, 1)
    assert any((a.at != b.at).any() for a, b in zip(examples, again, strict=True))


def test_counts_that_do_not_see_hidden_neighbours_know_less(checkpoint, judged):
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    training, books = judged
    examples = evaluate_demo.masked_paragraphs(tokenizer, list(books.values()), 32, 0)
    counts = NeighbourCounts(training.ids, training.sentence_starts, len(tokenizer), 2, 3)
    found = evaluate_demo.count_ranks(counts, examples, False)
    hidden = np.concatenate([example.hidden for example in examples])
    answers = np.concatenate([example.ids[example.at] for example in examples])
    neighbours = np.concatenate([example.neighbours for example in examples])
    by_frequency = np.argsort(-counts.probabilities, kind="stable").tolist()
    for i, answer in enumerate(answers):
        left, right = (None if no else token for token, no in zip(neighbours[i], hidden[i], strict=True))
        assert found["seen"][i] == rank(counts.scores(left, right), answer)
        assert found["neighbours"][i] == rank(counts.scores(*neighbours[i]), answer)
        assert found["unigram"][i] == by_frequency.index(answer)
    assert found["seen"][hidden.any(axis=1)].mean() > found["neighbours"][hidden.any(axis=1)].mean()


def test_the_models_ranks_are_those_of_its_logits(checkpoint, judged):
    tokenizer, model = AlbertTokenizer.from_pretrained(checkpoint), evaluate_demo.load(checkpoint, "numpy")
    examples = evaluate_demo.masked_paragraphs(tokenizer, list(judged[1].values()), 32, 0)
    ranks, losses = evaluate_demo.model_ranks(model, tokenizer, examples, False)
    expected = []
    for example in examples:
        ids = example.ids.copy()
        ids[example.at] = tokenizer.mask_token_id
        for at in example.at:
            row = model([ids]).prediction_logits[0, at].astype(np.float64)
            expected.append(-np.log(np.exp(row)[example.ids[at]] / np.exp(row).sum()))
    assert losses == pytest.approx(np.array(expected), rel=1e-5)
    assert ranks.shape == losses.shape
    assert np.corrcoef(ranks, losses)[0, 1] > 0.5


class Answers:
    """A model that always answers the same order."""

    def __init__(self, order):
        self.order = order

    def __call__(self, input_ids, **options):
        logits = np.zeros((len(input_ids), 2))
        logits[:, self.order] = 1
        return type("Out", (), {"sop_logits": logits})


def test_order_is_asked_both_ways(checkpoint, judged):
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    pairs = evaluate_demo.halves(tokenizer, list(judged[1].values()), 32)
    assert pairs
    for pair in pairs:
        assert pair.first
        assert pair.second
        assert len(pair.first) + len(pair.second) <= 29
    for order in (0, 1):
        right = evaluate_demo.model_orders(Answers(order), tokenizer, pairs, False)
        assert right.tolist() == [[order == 0, order == 1]] * len(pairs)


def test_halves_are_cut_between_the_sentences_nearest_to_the_middle(checkpoint):
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    sentences = ["Ba do ki.", "Lu me.", "No ri sa tu ba do ki lu."]
    a, b, c = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in sentences)
    (pair,) = evaluate_demo.halves(tokenizer, [[" ".join(sentences), "Alone."]], 128)
    assert (pair.first, pair.second) == (a + b, c)
    room = len(a) + len(b) + 3
    (pair,) = evaluate_demo.halves(tokenizer, [[" ".join(sentences)]], room)
    assert (pair.first, pair.second) == (a, b)
    assert evaluate_demo.halves(tokenizer, [[" ".join(sentences)]], room - 1) == []


def test_a_verdict_is_the_same_twice_and_complete(checkpoint, judged):
    training, books = judged
    first, second = (evaluate_demo.judge(checkpoint, training, books, backend="numpy") for _ in range(2))
    assert first == second == json.loads(json.dumps(first))
    masked, order = first["masked"], first["order"]
    assert first["step"] == 6
    assert set(first["books"]) == set(books)
    assert sum(book["tokens"] for book in first["books"].values()) == masked["tokens"]
    # six steps are no training: near a loss of ln V, and counts know more
    assert masked["loss"] == pytest.approx(np.log(60), rel=0.2)
    assert masked["neighbours"]["top1"] > masked["unigram"]["top1"] > 0
    for name in ("model", "neighbours", "unigram"):
        x = masked[name]
        assert 0 <= x["top1"] <= x["top5"] <= 1
        assert x["top1_error"] == pytest.approx((x["top1"] * (1 - x["top1"]) / masked["tokens"]) ** 0.5)
    assert order["accuracy"] == pytest.approx((order["in_order"] + order["swapped"]) / 2)
    text = evaluate_demo.table(first)
    assert f"{masked['neighbours']['top1']:.4f}" in text
    assert "sentence order: 0." in text


def test_a_model_without_a_sentence_order_head_is_judged_too(checkpoint, judged, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"architectures": ["AlbertForMaskedLM"]}))
    with pytest.warns(UserWarning, match="pooler"):
        verdict = evaluate_demo.judge(tmp_path / "model", *judged, backend="numpy")
    assert verdict["order"] is None
    assert "no such head" in evaluate_demo.table(verdict)


def test_the_judge_as_a_command(corpus, checkpoint, judged, tmp_path, capsys):
    given = ["--corpus", str(corpus / "corpus.txt"), "--books", str(corpus / "BOOKS.md"), "--backend", "numpy"]
    assert evaluate_demo.main([str(checkpoint), *given, "--json", str(tmp_path / "out.json")]) == 0
    assert "masked tokens of" in capsys.readouterr().out
    verdict = json.loads((tmp_path / "out.json").read_text())
    assert verdict == evaluate_demo.judge(checkpoint, *judged, backend="numpy")
    assert evaluate_demo.main([str(tmp_path / "nothing"), *given]) == 1
    assert "there is no folder" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ the package


@pytest.fixture(scope="module")
def packed(checkpoint, judged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    return folder, pack_demo.pack(checkpoint, *judged, folder, backend="numpy")


def test_a_packed_model_is_the_checkpoint_in_half_precision(packed, checkpoint):
    folder, figures = packed
    names = {"config.json", "model.safetensors", "spiece.model", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == names | {"README.md", "loss.png", "evaluation.json"}
    dtype = figures["weights"]["dtype"]
    stored = {tensor.dtype for tensor in safetensors_format.read(folder / "model.safetensors")}
    assert stored == {{"float16": "F16", "bfloat16": "BF16"}[dtype]}
    half, whole = (AlbertForPreTraining.from_pretrained(path) for path in (folder, checkpoint))
    assert half.config.dtype == dtype
    for name, x in whole.named_parameters():
        y = dict(half.named_parameters())[name]
        # half a unit in the last place of 11 or 8 bits; below 2⁻¹⁴ float16 has fewer
        assert np.abs(x - y).max() <= np.abs(x).max() * (2**-11 if dtype == "float16" else 2**-8) + 2**-25
    theirs, ours = AlbertTokenizer.from_pretrained(checkpoint), AlbertTokenizer.from_pretrained(folder)
    assert ours("Ba do ki (lu).") == theirs("Ba do ki (lu).")
    assert ours.model_max_length == half.config.max_position_embeddings == 32


def test_the_dtype_is_the_one_with_the_nearer_loss(packed):
    weights = packed[1]["weights"]
    far = {dtype: abs(weights[f"loss_{dtype}"] - weights["loss_float32"]) for dtype in ("float16", "bfloat16")}
    assert far[weights["dtype"]] == min(far.values())


def test_the_model_card_says_what_was_measured(packed):
    folder, figures = packed
    card = (folder / "README.md").read_text()
    masked = figures["masked"]
    assert f"| model | {100 * masked['model']['top1']:.1f} % ±" in card
    assert f"both neighbours | {100 * masked['neighbours']['top1']:.1f} % ±" in card
    assert "*Book 7* (Author 3)" in card
    assert "step 6" in card
    assert json.loads((folder / "evaluation.json").read_text()) == figures


def test_too_many_bytes_or_no_checkpoint_are_refused_and_nothing_is_written(checkpoint, judged, tmp_path):
    with pytest.raises(ValueError, match=r"the folder would be [\d,]+ bytes, and at most 1,000 are packed: README.md "):
        pack_demo.pack(checkpoint, *judged, tmp_path / "out", backend="numpy", limit=1000)
    with pytest.raises(ValueError, match=r"no checkpoint of tools/train_demo.py: recipe.json lies beside those"):
        pack_demo.pack(ROOT / "albert_np" / "demo", *judged, tmp_path / "out", backend="numpy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "dtype", "stored"),
    [
        (1.0, "bfloat16", 0x3F80),
        (1 + 2**-8, "bfloat16", 0x3F80),  # half-way: the even one
        (1 + 3 * 2**-8, "bfloat16", 0x3F82),
        (1 + 2**-8 + 2**-20, "bfloat16", 0x3F81),
        (-(2.0**-130), "bfloat16", 0x8008),
        (3.4e38, "bfloat16", None),
        (1 + 2**-11, "float16", 0x3C00),
        (65519.0, "float16", 0x7BFF),
        (65520.0, "float16", None),
    ],
)
def test_halves_are_the_nearest_values(value, dtype, stored):
    half = pack_demo.to_half(np.array([0.5, value], np.float32), dtype)
    assert (None if half is None else int(half.view(np.uint16)[1])) == stored


@pytest.mark.parity
def test_transformers_loads_a_packed_model_with_the_same_ids_and_logits(packed, transformers, torch):
    from tolerances import PARITY_FLOAT64

    folder, _ = packed
    text = 'Ba do ki [MASK] (lu) - "me".'
    theirs = transformers.AlbertForPreTraining.from_pretrained(folder, dtype="float64").eval()
    their_tokenizer = transformers.AlbertTokenizer.from_pretrained(folder)
    ours = AlbertForPreTraining.from_pretrained(folder, dtype="float64", backend="numpy")
    encoded = AlbertTokenizer.from_pretrained(folder)(text)
    assert their_tokenizer(text)["input_ids"] == encoded["input_ids"]
    with torch.no_grad():
        expected = theirs(**their_tokenizer(text, return_tensors="pt"))
    out = ours(**encoded)
    for name in ("prediction_logits", "sop_logits"):
        want = expected[name].numpy()
        assert np.abs(out[name] - want).max() <= PARITY_FLOAT64 * np.abs(want).max()
