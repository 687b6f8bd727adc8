"""What the commands share that ask a model about texts: their options, and the way from inputs to answers.

A command is a Command: its words, its own options, and the Work that it makes of them.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from albert_np.cli.inputs import FORMATS, Inputs, Shape
from albert_np.cli.shared import HelpFormatter, as_json, model_options, parse_columns, where
from albert_np.files import shown

# what changes no row of a job
WITHOUT_EFFECT = {"out", "resume", "overwrite", "json", "batch_size", "threads", "cache_dir", "local_files_only"}
WITHOUT_EFFECT |= {"run", "refuse", "job", "command"}
MOST_WARNINGS = 5
ENDINGS = (".jsonl", ".csv", ".npy", ".parquet")

FILES = """texts are arguments in quotes, lines of stdin (-), or files:
  .txt             a text on each line
  .csv .tsv        with a header line; --columns says what is where
  .jsonl .json     objects with named values
  .parquet         needs pyarrow: pip install "albert-np[parquet]"
--out writes a row for each input, in their order; --resume continues after a stop
"""


class Work(NamedTuple):
    """What a command makes of its options.

    ask: from what `item` makes of inputs to their answers. text: an input and its answer, for people. columns: those of CSV and
    parquet. best: how many answers are shown, the highest first; 0 shows each, as it comes. vector: width and type of answers
    that are vectors.
    """

    ask: Callable[[list[Any]], Any]
    text: Callable[[dict[str, Any], Any], str]
    columns: tuple[str, ...]
    item: Callable[[dict[str, Any]], Any] = lambda values: values["text"]
    best: int = 0
    vector: tuple[int, Any] | None = None


class Command(NamedTuple):
    """A command's words and options. model: the one that is asked by default; None if it must be named."""

    name: str
    help: str
    description: str
    examples: str
    inputs: str
    shape: Callable[[argparse.Namespace], Shape]
    options: Callable[[argparse.ArgumentParser], None]
    work: Callable[[argparse.Namespace], Work]
    model: str | None = None
    task: str | None = None  # of the pipeline that is asked
    own: str = ""  # what comes before the inputs

    def add(self, commands: Any) -> None:
        """Adds its parser."""
        parser = commands.add_parser(self.name, help=self.help, description=self.description, **formatting(self))
        fill(parser, self)


def formatting(command: Command) -> dict[str, Any]:
    epilog = f"examples:\n{command.examples.strip(chr(10))}\n\n{FILES}"
    return {"epilog": epilog, "formatter_class": HelpFormatter, "parents": [model_options()]}


def fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """Adds the options of a command to a parser."""
    default = "it must be named" if command.model is None else f"default: {command.model}"
    command.options(parser)
    parser.add_argument("inputs", nargs="+", metavar=command.inputs, help="in quotes; - reads lines of stdin; or files")
    parser.add_argument("--model", metavar="NAME", help=f"folder, hub id or demo ({default})")
    data = parser.add_argument_group("what goes in and comes out")
    data.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="which columns of files to read; also delimiter=; (CSV)",
    )
    data.add_argument(
        "--format",
        choices=("text", *FORMATS),
        help="how files and stdin are read, whatever their names say; text: no argument is a file",
    )
    data.add_argument("--out", type=_out, metavar="FILE", help=f"write the answers to a file: {', '.join(ENDINGS)}")
    data.add_argument(
        "--resume", action="store_true", help="continue --out after a stop; does nothing if it is complete"
    )
    data.add_argument("--overwrite", action="store_true", help="begin --out anew if it is there")
    data.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="what a bad row does: stop, or have its error for an answer while the rest goes on (default: %(default)s)",
    )
    how = parser.add_argument_group("how it computes")
    how.add_argument(
        "--batch-size",
        type=_count,
        default=256,
        metavar="N",
        help="inputs that are read ahead and computed together, at most; changes no answer (default: %(default)s)",
    )
    how.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="numba, the compiled engine; numpy, the reference; or auto: numba where it runs, but for float64 "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--dtype",
        default="auto",
        metavar="TYPE",
        help="float32, float64, bfloat16 or int8 (default: float32, and int8 for weights that are stored so)",
    )
    how.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the numba backend; answers do not depend on it (default: NUMBA_NUM_THREADS, or every core)",
    )
    own = f"{command.own} " if command.own else ""
    parser.usage = f"{parser.prog} {own}{command.inputs} … [options]"
    parser.set_defaults(run=run, refuse=parser.error, job=command)


def _out(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() not in ENDINGS:
        raise argparse.ArgumentTypeError(f"{name!r:.80}: the ending says the form, and is one of {', '.join(ENDINGS)}")
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r:.80}")
    return int(text)


def add_truncate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--truncate", action="store_true", help="cut texts that are too long without a warning")


def truncation(args: argparse.Namespace) -> dict[str, Any]:
    return {"truncation": True} if args.truncate else {}


def load(args: argparse.Namespace, task: str, **options: Any) -> Any:
    """The pipeline of a task with the command's model."""
    from albert_np import pipeline

    return pipeline(task, args.model, backend=args.backend, dtype=args.dtype, **where(args), **options)


# --- running a command ----------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    command: Command = args.job
    if args.out is None and (args.resume or args.overwrite):
        args.refuse("--resume and --overwrite are about the file of --out")
    if args.resume and args.overwrite:
        args.refuse("--resume continues a file and --overwrite begins it anew: choose one")
    if args.model is None and command.model is None:
        args.refuse(f"{command.name} has no model of its own: --model names a folder or a hub id")
    inputs = Inputs(args.inputs, command.shape(args), parse_columns(args.columns), args.format, args.refuse)
    if args.model is None:
        args.model = command.model
        if command.task not in (None, "fill-mask"):  # the first answer that README shows stands alone
            from albert_np.pipelines.make import default_model

            default_model(str(command.task))  # says what it is
    else:
        _check_model(args, command)
    with _few_warnings():
        work = command.work(args)
        if args.out is None:
            _print(args, work, inputs)
        else:
            _write(args, work, inputs)


def _check_model(args: argparse.Namespace, command: Command) -> None:
    """Raises ValueError if the model was saved for something else, and says who asks this one."""
    from albert_np.cli.predict import BY_TASK
    from albert_np.pipelines.make import PIPELINES, TASK_OF, task_of

    pipe = PIPELINES.get(str(command.task))
    if pipe is None or command.task == "feature-extraction":  # every model has states
        return
    try:
        found = task_of(args.model, where(args))
    except ValueError:
        return  # nobody knows what it was saved for; loading it tells what it lacks
    if found not in {TASK_OF[kind.__name__] for kind in pipe.models}:
        raise ValueError(
            f"{args.model} is a model for {found}, and {command.name} needs {pipe.needs}: "
            f"albert-np {BY_TASK[found].name} asks this one; albert-np finetune makes others"
        )


def _print(args: argparse.Namespace, work: Work, inputs: Inputs) -> None:
    """Prints the answers as they come; or the best of all, once all are known."""
    from albert_np.pipelines.job_files import plain

    best: list[tuple[float, int, Any]] = []
    failed = 0
    scrolls = sys.stdout.isatty() and not work.best  # answers on the terminal where a bar would be
    for number, (values, answer) in enumerate(_answers(args, work, inputs, _bar(inputs, hidden=scrolls))):
        if isinstance(answer, ValueError):
            failed += 1
            print(as_json(plain(answer)) if args.json else f"error: {answer}", flush=True)
        elif work.best:
            entry = (answer["score"], -number, values)
            (heapq.heappushpop if len(best) == work.best else heapq.heappush)(best, entry)
        else:
            print(as_json(plain(answer)) if args.json else harmless(work.text(values, answer)), flush=True)
    for score, number, values in sorted(best, reverse=True):
        answer = {"index": -number, "score": score, **values}
        print(as_json(answer) if args.json else harmless(work.text(values, answer)))
    if failed:
        print(f"albert-np: inputs without an answer: {failed:,}", file=sys.stderr)


def _bar(inputs: Inputs, *, begun: int = 0, hidden: bool = False) -> Any:
    """A bar with the rate and the time left, where somebody watches."""
    from tqdm import tqdm

    hidden = hidden or sys.stderr is None or not sys.stderr.isatty()
    return tqdm(total=None if hidden else inputs.total(), initial=begun, unit=" rows", disable=hidden)


def _answers(args: argparse.Namespace, work: Work, inputs: Inputs, bar: Any) -> Iterator[tuple[Any, Any]]:
    from albert_np.pipelines.jobs import answered

    waits = "-" in args.inputs and sys.stdin.isatty()  # somebody types, and each line is answered before the next
    ask = _asker(work)
    window = 1 if waits else args.batch_size
    with bar:
        for items, answers in answered(iter(inputs), ask, window=window, skip=args.on_error == "skip"):
            yield from zip(items, answers, strict=True)
            bar.update(len(items))


def _asker(work: Work) -> Callable[[list[Any]], Any]:
    return lambda items: work.ask([work.item(values) for values in items])


def _write(args: argparse.Namespace, work: Work, inputs: Inputs) -> None:
    from albert_np.pipelines.job_files import GrowingFile, form_of
    from albert_np.pipelines.jobs import run as run_job

    skip = args.on_error == "skip"
    if args.out.exists() and any(
        name != "-" and os.path.exists(name) and args.out.samefile(name) for name in args.inputs
    ):
        raise ValueError(f"{args.out} is an input: name another file with --out")
    columns = (*work.columns, "error") if skip else work.columns
    width, dtype = work.vector or (None, None)
    form = form_of(args.out, columns, width=width, dtype=dtype)
    settings = {name: value for name, value in vars(args).items() if name not in WITHOUT_EFFECT}
    settings["command"] = args.job.name
    file = GrowingFile(args.out, form, settings, resume=args.resume, overwrite=args.overwrite)
    if file.complete:
        print(as_json({"out": str(args.out), "rows": 0}) if args.json else f"{args.out} is complete: nothing to do")
        return
    begun = file.done.rows
    try:
        with _bar(inputs, begun=begun) as bar:
            run_job(iter(inputs), _asker(work), file, window=args.batch_size, skip=skip, progress=bar.update)
    except KeyboardInterrupt as error:
        again = shlex.join([*sys.argv[1:], *([] if args.resume else ["--resume"])])
        raise KeyboardInterrupt(f"interrupted after {file.done.rows:,} rows; to continue: albert-np {again}") from error
    done = {"out": str(args.out), "rows": file.done.rows - begun, "failed": file.done.failed}
    told = f"wrote {done['rows']:,} rows to {args.out}" + (f", which now has {file.done.rows:,}" if begun else "")
    print(as_json(done) if args.json else told + (f", {done['failed']:,} with an error" if done["failed"] else ""))


@contextlib.contextmanager
def _few_warnings() -> Iterator[None]:
    """Shows the first warnings and counts the others: a long file may hold thousands of texts that are cut."""
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # and keeps no list of those that were shown
        show = warnings.showwarning

        def first(*warning: Any, **more: Any) -> None:
            nonlocal count
            count += 1
            if count <= MOST_WARNINGS:
                show(*warning, **more)

        warnings.showwarning = first
        try:
            yield
        finally:
            if count > MOST_WARNINGS:
                print(f"albert-np: {count - MOST_WARNINGS:,} more warnings", file=sys.stderr)


# --- for people -----------------------------------------------------------------------------------------------------------


def line_of(text: Any, most: int = 100) -> str:
    """A text as one line."""
    return shown(" ".join(str(text).split()), most)


def harmless(text: str) -> str:
    """Lines for a terminal, without what it might obey: labels come from a model's config, and texts from anywhere."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" or (c.isspace() and c > "\x9f") else "?" for c in text)


def scores(title: str, found: list[tuple[float, str]]) -> str:
    """A title, and a line for each score and what has it."""
    return "\n".join([line_of(title), *(f"  {score:7.4f}  {what}" for score, what in found)])


def marked(text: str, marks: list[tuple[int, int, str]]) -> str:
    """A text with [brackets] around some of its parts; marks: first and last character + 1, and what the part is."""
    out, at = [], 0
    for start, end, name in marks:
        if start >= at:
            out += [text[at:start], "[", text[start:end], f": {name}" if name else "", "]"]
            at = end
    return "".join([*out, text[at:]])
