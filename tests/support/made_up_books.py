"""A made-up corpus and a model that trains in a second, for the tools that make the embedded model."""

import random

HEADER = (
    "| repository | bytes | words | chapters/tales | paragraphs | title | author | commit | what is in |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
TINY = {
    "vocab_size": 60,
    "embedding_size": 8,
    "hidden_size": 16,
    "layers": 2,
    "heads": 2,
    "first_layers": 1,
    "first_steps": 4,
    "second_steps": 3,
    "max_length": 32,
    "batch_size": 2,
    "steps": 6,
    "warmup_steps": 2,
    "cooldown_steps": 2,
    "evaluate_every": 3,
    "evaluation_batches": 2,
    "save_every": 3,
    "log_every": 2,
}
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


def arguments(corpus, output, **changes):
    given = ["--corpus", str(corpus / "corpus.txt"), "--books", str(corpus / "BOOKS.md"), "--output", str(output)]
    for name, value in ({"backend": "numpy"} | TINY | changes).items():
        option = f"--{name.replace('_', '-')}"
        given += [option] if value is True else [option, str(value)]
    return given
