"""The reference of the documentation: docs/api.md and docs/commands.md, and for the site a page for each group of names.

docs/api.md has the first sentence of each docstring; the pages of the site have the whole of it. tools/draw_docs.py writes the
former, tools/build_site.py the latter.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import albert_np
from albert_np import cli, golden

ROOT = Path(__file__).resolve().parents[1]


class Group(NamedTuple):
    slug: str
    title: str
    about: str
    names: list[str]  # of objects, or of modules, whole; a * stands for every public name that begins so
    members: bool = True  # shown with its methods


GROUPS = [
    Group(
        "models",
        "Models",
        "The encoder, and the six classes with a head and its loss. All of them are called alike: `AlbertPreTrainedModel` has "
        "what they share.",
        ["albert_np.AlbertPreTrainedModel", "albert_np.AlbertModel", "albert_np.AlbertFor*"],
    ),
    Group(
        "config", "Config", "The sizes of a model, and what they cost.", ["albert_np.AlbertConfig", "albert_np.costs"]
    ),
    Group(
        "tokenizer",
        "Tokenizer",
        "From text to ids, and back.",
        [
            "albert_np.AlbertTokenizer",
            "albert_np.AlbertTokenizerFast",
            "albert_np.BatchEncoding",
            "albert_np.AddedToken",
        ],
    ),
    Group("outputs", "Results", "What a call of a model returns.", ["albert_np.outputs", "albert_np.run.Trace"]),
    Group(
        "pipelines",
        "Texts in, answers out",
        "Pipelines, embeddings, and batches on a cluster.",
        [
            "albert_np.pipeline",
            "albert_np.pipelines.base.Pipeline",
            "albert_np.PipelineException",
            "albert_np.SentenceEncoder",
            "albert_np.AlbertVectorizer",
            "albert_np.distributed.BatchPredictor",
            "albert_np.explore",
        ],
    ),
    Group(
        "checkpoints",
        "Checkpoints",
        "From one format to another, and what is odd about a checkpoint.",
        ["albert_np.convert", "albert_np.verify", "albert_np.conversion.report"],
    ),
    Group(
        "threads",
        "Threads",
        "How many threads the CPU engine uses.",
        ["albert_np.set_num_threads", "albert_np.num_threads", "albert_np.get_num_threads"],
    ),
    Group(
        "book",
        "The model, written to be read",
        "The whole arithmetic of ALBERT in NumPy, with the backward function of each operation beside it.",
        [
            f"albert_np.{name}"
            for name in ("ops", "activations", "losses", "embeddings", "encoder", "heads", "gradients")
        ],
    ),
    Group(
        "engines",
        "Engines",
        "What an engine has to be, and how one is chosen.",
        ["albert_np.backends.protocol", "albert_np.backends.choose"],
    ),
    Group(
        "training",
        "Training",
        "Data, optimizers, and the loop.",
        [
            f"albert_np.training.{name}"
            for name in ("pretrain", "pretraining", "masking", "vocabulary", "finetune", "loop", "optimizers", "muon")
        ],
    ),
    Group(
        "tasks",
        "Tasks",
        "A file for each task: its examples, its batches, its answers; and the metrics.",
        [
            f"albert_np.tasks.{name}"
            for name in (
                "text_classification",
                "token_classification",
                "question_answering",
                "multiple_choice",
                "vectors",
                "metrics",
            )
        ],
    ),
    Group(
        "golden",
        "The golden kit",
        "For people who port the model: `from albert_np import golden`.",
        ["albert_np.golden.*"],
    ),
    Group(
        "auto",
        "Auto names",
        "The names under which transformers has the same classes for any architecture.",
        ["albert_np.Auto*"],
        members=False,
    ),
    Group(
        "tensorflow",
        "Classes of TensorFlow",
        "The same models, called as in TensorFlow.",
        ["albert_np.TF*"],
        members=False,
    ),
    Group(
        "flax",
        "Classes of Flax",
        "The same models, called as in Flax.",
        ["albert_np.Flax*", "albert_np.from_flax_params", "albert_np.to_flax_params"],
        members=False,
    ),
]

# classes whose methods are in classes above them, which have no place of their own
WITH_INHERITED = {"albert_np.AlbertPreTrainedModel", "albert_np.AlbertTokenizer", "albert_np.SentenceEncoder"}

# --- names ----------------------------------------------------------------------------------------------------------------


def public() -> list[str]:
    """Every name that the package promises."""
    ours = [f"albert_np.{name}" for name in [*albert_np.__all__, "AlbertVectorizer"] if name != "__version__"]
    return [*ours, *(f"albert_np.golden.{name}" for name in golden.__all__)]


def named(group: Group) -> list[str]:
    """The names of a group, each * spelled out, without those that this version does not have."""
    found, elsewhere = [], {"albert_np.AlbertForPreTrainingOutput"}  # which is with the results
    for name in group.names:
        if name.endswith("*"):
            found += [one for one in public() if one.startswith(name[:-1]) and one not in elsewhere]
        elif name in public() or thing(name) is not None:
            found.append(name)
    return list(dict.fromkeys(found))


def thing(name: str) -> Any:
    """A module or what it holds; None where there is none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        module, _, attribute = name.rpartition(".")
        try:
            return getattr(importlib.import_module(module), attribute, None)
        except ImportError:
            return None


def missing() -> list[str]:
    """Public names that no group has."""
    have = {name for group in GROUPS for name in named(group)}
    modules = {name for name in have if inspect.ismodule(thing(name))}
    return [name for name in public() if name not in have and getattr(thing(name), "__module__", "") not in modules]


def first_sentence(value: Any) -> str:
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s(?=[A-Z`“\"'(])", text)[0].rstrip(":")


def file_of(value: Any) -> str:
    """Where it is in the repository, wherever the package is installed."""
    module = value.__name__ if inspect.ismodule(value) else value.__module__
    path = module.replace(".", "/").replace("albert_np/kernels", "kernels")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


# --- docs/api.md ----------------------------------------------------------------------------------------------------------


def api_table() -> str:
    """For each group a table: names, linked to their file, and the first sentence of their docstring."""
    if missing():
        raise ValueError(f"GROUPS in {Path(__file__).name} has no place for {', '.join(missing())}")
    parts = []
    for group in GROUPS:
        rows = ["| name | what it is |", "|---|---|"]
        for name in named(group):
            value = thing(name)
            says = first_sentence(value).replace("|", "\\|")
            rows.append(f"| [`{shown(name)}`](../{file_of(value)}) | {says} |")
        parts.append(f"## {group.title}\n\n{group.about}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def shown(name: str) -> str:
    """As a reader writes it: names of the package itself without the package."""
    short = name.removeprefix("albert_np.")
    return short if name in public() else name


def with_links_to_the_reference(page: str) -> str:
    """docs/api.md for the site: names lead to the reference instead of to a file."""
    full = {shown(name): name for group in GROUPS for name in named(group)}
    kind = {name: "mod" if inspect.ismodule(thing(full[name])) else "obj" for name in full}
    return re.sub(
        r"^\| \[`([^`]+)`\]\([^)]+\)",
        lambda match: f"| {{py:{kind[match[1]]}}}`{match[1]} <{full[match[1]]}>`",
        page,
        flags=re.M,
    )


# --- the pages of the site ------------------------------------------------------------------------------------------------


def reference_pages() -> dict[str, str]:
    """The name of each page, and its text: reStructuredText that Sphinx's autodoc fills."""
    return {f"{i:02}_{group.slug}": reference_page(group) for i, group in enumerate(GROUPS, 1)}


def reference_page(group: Group) -> str:
    about = re.sub(r"`([^`]+)`", r"``\1``", group.about)
    lines = [group.title, "=" * len(group.title), "", about, ""]
    for name in named(group):
        value = thing(name)
        heading = name if inspect.ismodule(value) else shown(name)
        lines += [heading, "-" * len(heading), ""]
        if inspect.ismodule(value):
            lines += [f".. automodule:: {name}", "   :members:", "   :undoc-members:", "", ""]
        elif inspect.isclass(value):
            lines += [f".. autoclass:: {name}"]
            if group.members:
                lines += ["   :members:", "   :special-members: __call__", "   :exclude-members: forward"]
            if name in WITH_INHERITED:
                lines.append("   :inherited-members: object, Mapping, UserDict, dict, Generic")
            lines += ["", ""]
        else:
            lines += [f".. autofunction:: {name}", "", ""]
    return "\n".join(lines)


# --- docs/commands.md -----------------------------------------------------------------------------------------------------


def command_tables() -> str:
    """A section for each command, from the parsers themselves: how --help breaks its lines depends on the version of Python."""
    parts = []
    for names, parser, says in commands(cli._parser(), ["albert-np"]):
        title = " ".join(names)
        about = [paragraph for paragraph in [parser.description or says] if paragraph]
        lines = [f"{'#' * len(names)} {title}", "", *(block(text) for text in about), ""]
        lines += [f"`{usage(names, parser)}`", ""]
        if rows := list(arguments(parser)):
            lines += ["| argument | what it does |", "|---|---|", *rows, ""]
        if parser.epilog:
            lines += [block(parser.epilog), ""]
        parts.append("\n".join(lines))
    return "\n".join(parts[1:])


def commands(parser: argparse.ArgumentParser, names: list[str], says: str = "") -> Iterator[tuple[list[str], Any, str]]:
    yield names, parser, says
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, child in action.choices.items():
                yield from commands(child, [*names, name], helps.get(name, ""))


def usage(names: list[str], parser: argparse.ArgumentParser) -> str:
    given = [spelled(action) for action in parser._actions if not action.option_strings]
    given += [
        f"{action.option_strings[-1]} {spelled(action)}"
        for action in parser._actions
        if action.option_strings and action.required
    ]
    options = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    return " ".join([*names, *given, *(["[OPTIONS]"] if options else [])])


def spelled(action: argparse.Action) -> str:
    """The value of an argument, as a usage line has it."""
    if isinstance(action, argparse._SubParsersAction):
        return str(action.metavar or "COMMAND")
    if action.nargs == 0:
        return ""
    name = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper())
    if isinstance(name, tuple):
        return " ".join(name)
    several = {"*": f"[{name} …]", "+": f"{name} […]", "?": f"[{name}]"}
    return several.get(str(action.nargs), " ".join([name] * action.nargs) if isinstance(action.nargs, int) else name)


def arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        names = " ".join(filter(None, [", ".join(action.option_strings), spelled(action)]))
        values = {**vars(action), "prog": parser.prog}
        says = cell((action.help or "") % values)
        yield f"| `{names.replace('|', chr(92) + '|')}` | {says} |"


def cell(text: str) -> str:
    """Text of a terminal as a cell of a table: nothing in it means anything."""
    words = " ".join(text.split())
    return re.sub(r"([\\|*<>\[\]`]|\b_|_\b)", r"\\\1", words)


def block(text: str) -> str:
    """Text of a terminal: one line is a paragraph, several stay as they are."""
    text = textwrap.dedent(text).strip()
    if "\n" not in text:
        return cell(text)
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        rows = paragraph.split("\n")
        set_in = any(row.startswith("  ") for row in rows)
        if not set_in:
            paragraphs.append(cell(paragraph))
            continue
        first = [row for row in rows[:1] if not row.startswith(" ")]
        paragraphs += [cell(row) for row in first]
        paragraphs.append("\n".join(f"    {row.strip()}" for row in rows[len(first) :]))
    return "\n\n".join(paragraphs)
