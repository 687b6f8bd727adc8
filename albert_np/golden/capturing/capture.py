"""The tensors of somebody else's ALBERT under our names: of a torch model, an ONNX file or an OpenVINO one.

    with torch.autocast("cpu", torch.bfloat16):              # whatever is to be judged
        candidate = golden.capture_torch(model, inputs)      # model.eval(), attn_implementation="eager"
    golden.compare("goldens/", candidate)

A program that has to hand out its intermediates is not always the program that runs without: an output cannot be fused away.
Give `names` where fusing must stay as it is, and compare with partial=True.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.files import listed, shown
from albert_np.golden.capturing import module_names
from albert_np.golden.capturing.onnx_modules import element_types, tensor_names
from albert_np.golden.graph import ARCHITECTURES, Step, graph
from albert_np.golden.recording import Recording
from albert_np.ops import Array

LABELS = ("labels", "sentence_order_label", "start_positions", "end_positions")


def capture_torch(
    model: Any, inputs: Mapping[str, Any] | None = None, *, recording: Recording | str | Path | None = None
) -> dict[str, Array]:
    """Calls a torch model once, in its own precision, and gives the tensors of the call under the names of a trace.

    model: one of transformers' Albert classes, or any module whose modules have their names, in eval mode. It may lie on any
    device, and the call may stand in torch.autocast. Not torch.compile's: it has no modules left.
    inputs: the arrays of a call: input_ids (B,T), attention_mask … None: those of the recording.
    recording: what the tensors will be compared with; it says which are due where the model has no config of its own.
    Returns float32 for bfloat16, which is exact, and every other dtype as it is; in the order of the trace.
    Warns (UserWarning) of tensors that the model does not have, such as the scores and probs of SDPA: compare(…,
    partial=True) takes them as left out. Its hooks are gone afterwards, also if the model fails.
    Raises ValueError for a model in training mode, or without a name that ALBERT has, or without torch.
    """
    if getattr(model, "training", False):
        raise ValueError("the model is in training mode, where dropout takes values away: call model.eval() first")
    against = _opened(recording)
    steps = against.steps if against is not None else _steps_of(model)
    try:
        import torch

        from albert_np.golden.capturing.torch_modules import watched
    except ImportError as error:
        raise ValueError("capture_torch runs a torch model, and torch is not installed: pip install torch") from error
    device = next((x.device for x in model.parameters()), None)
    call = {name: torch.as_tensor(x, device=device) for name, x in _call(inputs, against).items()}
    with torch.no_grad(), watched(model) as watch:
        model(**call)
    found = _in_order(watch.found, steps)
    _warn_of_absent(found, steps, "a model loaded with attn_implementation='eager' has scores and probs")
    return found


def onnx_names(path: str | Path) -> dict[str, str]:
    """Our names -> the names of tensors in an ONNX file that torch (or optimum) exported from transformers' ALBERT.

    They follow from the modules that the exporters write into nodes, and from the order of the nodes. The names of tensors
    outlive quantizing and most fusing, the modules do not: ask the first export, and give `names` to capture_onnx.
    Raises OSError or ValueError for a file that is no model, ValueError without onnx.
    """
    return tensor_names(_onnx_model(path))


def capture_onnx(
    path: str | Path,
    inputs: Mapping[str, Any],
    *,
    session_options: Any = None,
    providers: Sequence[Any] | None = None,
    names: Mapping[str, str] | Iterable[str] | None = None,
    unmatched: bool = False,
    optimize: bool = True,
) -> dict[str, Array]:
    """Runs an ONNX file in ONNX Runtime, and gives its intermediates under the names of a trace.

    inputs: arrays by name; token types of zeros, masks of ones and counted positions are made or left out as the file wants.
    session_options, providers: onnxruntime's; the default is all optimizations, on the CPU. optimize=False: no op is fused,
    folded or replaced.
    names: {ours: tensor of the file}, or those of our names that are wanted; the default is onnx_names(path). Only these
    become outputs, so that all else may still be fused. A warning says which of them the file does not have.
    unmatched: also every other tensor, under its own name. A candidate that is compared should have none of them.
    Raises OSError for a file that is not there; ValueError for one that does not run, for inputs that do not fit, if nothing
    is found, and without onnx and onnxruntime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            "capture_onnx runs the file in ONNX Runtime, which is not installed: pip install onnxruntime"
        ) from error
    model = _onnx_model(path)
    made = {name for node in model.graph.node for name in node.output} | {x.name for x in model.graph.input}
    chosen = _there(_chosen(names, tensor_names(model), path), made, path)
    if unmatched:
        chosen |= _others(model, chosen)
    if not chosen:
        raise ValueError(
            f"no tensor of {path} was recognised as ALBERT's: give names={{ours: theirs}}; unmatched=True shows what there is"
        )
    outputs = _with_outputs(model, sorted(set(chosen.values())))
    options = session_options or onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(Path(path).parent))
    with _refusals(path, "ONNX Runtime"):
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=list(providers or ["CPUExecutionProvider"])
        )
    feeds = _feeds(inputs, {x.name: x.type for x in session.get_inputs()}, path)
    with _refusals(path, "ONNX Runtime"):
        values = dict(zip(outputs, session.run(list(outputs.values()), feeds), strict=True))
    return _in_order({ours: values[theirs] for ours, theirs in chosen.items()}, None)


def capture_openvino(
    path: str | Path,
    inputs: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "CPU",
    names: Mapping[str, str] | Iterable[str] | None = None,
) -> dict[str, Array]:
    """Runs an ONNX or OpenVINO (.xml) file in OpenVINO, and gives its intermediates under the names of a trace, in float32.

    config: OpenVINO's, such as {"INFERENCE_PRECISION_HINT": "bf16"}. inputs, names: as in capture_onnx; an .xml file needs
    names = {ours: theirs}, since it does not say what its tensors are. What OpenVINO folded away while reading is left out.
    Raises as capture_onnx.
    """
    try:
        import openvino
    except ImportError as error:
        raise ValueError("capture_openvino runs OpenVINO, which is not installed: pip install openvino") from error
    if not Path(path).is_file():
        raise OSError(f"{path} is no file")
    chosen = _chosen(names, onnx_names(path) if Path(path).suffix == ".onnx" else {}, path)
    with _refusals(path, "OpenVINO"):
        model = openvino.Core().read_model(path)
    made = {name: out for op in model.get_ordered_ops() for out in op.outputs() for name in out.get_names()}
    chosen = _there(chosen, made, path)
    if not chosen:
        raise ValueError(f"no tensor of {path} was recognised as ALBERT's: give names={{ours: theirs}}")
    already = {name for out in model.outputs for name in out.get_names()}
    model.add_outputs(sorted(set(chosen.values()) - already))
    with _refusals(path, "OpenVINO"):
        compiled = openvino.Core().compile_model(model, device, dict(config or {}))
    kinds = {name: x.get_element_type().to_dtype().name for x in compiled.inputs for name in [x.get_any_name()]}
    feeds = _feeds(inputs, kinds, path)
    with _refusals(path, "OpenVINO"):
        results = compiled(feeds)
    values = {name: np.array(x) for out, x in results.items() for name in out.get_names()}
    return _in_order({ours: values[theirs] for ours, theirs in chosen.items()}, None)


# --- what they share ----------------------------------------------------------------------------------------------------


@contextmanager
def _refusals(path: str | Path, who: str) -> Iterator[None]:
    """A runtime's own exceptions, which are of no common class, as ValueErrors of one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{who} refuses {path}: {shown(' '.join(str(error).split()), 400)}") from error


def _opened(recording: Recording | str | Path | None) -> Recording | None:
    return Recording(recording) if isinstance(recording, (str, Path)) else recording


def _call(inputs: Mapping[str, Any] | None, recording: Recording | None) -> dict[str, Array]:
    """The arrays of a call, without labels: a loss is no tensor of the trace."""
    if inputs is None:
        if recording is None:
            raise ValueError("give the arrays of a call as inputs, or a recording that has them")
        inputs = recording.call
    if not isinstance(inputs, Mapping):
        raise ValueError(f"inputs are arrays by name, such as input_ids; got {type(inputs).__name__}")
    return {name: np.asarray(x) for name, x in inputs.items() if name not in LABELS}


def _steps_of(model: Any) -> list[Step] | None:
    """The graph of one of transformers' classes."""
    architecture, config = type(model).__name__, getattr(model, "config", None)
    if architecture not in ARCHITECTURES or config is None:
        return None
    pooler = getattr(model, "pooler", getattr(getattr(model, "albert", None), "pooler", None)) is not None
    return graph(AlbertConfig.from_dict(config.to_dict()), architecture, pooler=pooler)


def _in_order(found: Mapping[str, Array], steps: list[Step] | None) -> dict[str, Array]:
    """As the trace has them; what it does not have comes last."""
    if steps is None:
        return dict(found)
    order = {one.name: i for i, one in enumerate(steps)}
    return {name: found[name] for name in sorted(found, key=lambda name: order.get(name, len(order)))}


def _warn_of_absent(found: Mapping[str, Array], steps: list[Step] | None, hint: str) -> None:
    lacking = module_names.absent(found, steps or [])
    if lacking:
        warnings.warn(
            f"{len(lacking)} of the trace's tensors are no tensors of this program: {listed(lacking)}; compare with "
            f"partial=True (--partial), or capture a program that has them ({hint})",
            stacklevel=3,
        )


def _onnx_model(path: str | Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ValueError(
            "reading an ONNX file needs onnx, which is not installed: pip install 'albert-np[golden]'"
        ) from error
    if not Path(path).is_file():
        raise OSError(f"{path} is no file")
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError is not the same class in all of its versions
        raise ValueError(f"{path} is no ONNX model: {shown(str(error), 120)}") from error


def _chosen(names: Mapping[str, str] | Iterable[str] | None, known: dict[str, str], path: str | Path) -> dict[str, str]:
    if names is None:
        return known
    if isinstance(names, Mapping):
        return dict(names)
    wanted = [names] if isinstance(names, str) else list(names)
    lacking = [name for name in wanted if name not in known]
    if lacking:
        raise ValueError(f"{path} has no tensor that was recognised as {listed(lacking)}: give names={{ours: theirs}}")
    return {name: known[name] for name in wanted}


def _there(names: dict[str, str], made: Collection[str], path: str | Path) -> dict[str, str]:
    """Without the names of tensors that the program does not have: fused away, or folded into a constant."""
    lacking = [f"{ours} ({theirs})" for ours, theirs in names.items() if theirs not in made]
    if lacking:
        warnings.warn(
            f"{path} does not have {len(lacking)} of the tensors that are named: {listed(lacking)}; compare with partial=True "
            "(--partial)",
            stacklevel=3,
        )
    return {ours: theirs for ours, theirs in names.items() if theirs in made}


def _others(model: Any, chosen: Mapping[str, str]) -> dict[str, str]:
    """Every other tensor of numbers that a node makes; sequences are none, and what is not inferred is left out."""
    have, types = set(chosen.values()), element_types(model)
    made = [name for node in model.graph.node if node.op_type != "Constant" for name in node.output if name]
    return {name: name for name in made if name not in have and types.get(name)}


def _with_outputs(model: Any, wanted: list[str]) -> dict[str, str]:
    """Makes tensors of a model its outputs: {tensor: output}. What NumPy has no dtype for comes as float32."""
    import onnx

    types = element_types(model)
    outputs = {}
    for name in wanted:
        outputs[name] = name
        if types.get(name) == onnx.TensorProto.BFLOAT16:
            outputs[name] = f"{name}.float32"
            cast = onnx.helper.make_node("Cast", [name], [outputs[name]], to=onnx.TensorProto.FLOAT)
            model.graph.node.append(cast)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs.values())  # types are inferred
    return outputs


_FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def _feeds(inputs: Mapping[str, Any], kinds: Mapping[str, str], path: str | Path) -> dict[str, Array]:
    """What the file's inputs get. A file may lack an input that says nothing, and want one that follows from the others."""
    call = _call(inputs, None)
    ids = call.get("input_ids", next(iter(call.values()), np.zeros((1, 1))))
    plain = {
        "token_type_ids": np.zeros(ids.shape, np.int64),
        "attention_mask": np.ones(ids.shape, np.int64),
        "position_ids": np.broadcast_to(np.arange(ids.shape[-1]), ids.shape),
    }
    for name in call.keys() - kinds.keys():
        if name not in plain or not np.array_equal(np.broadcast_to(call[name], ids.shape), plain[name]):
            raise ValueError(f"{path} has no input {shown(name)}; its inputs are {listed(list(kinds))}")
    feeds = {}
    for name, kind in kinds.items():
        x = call.get(name, plain.get(name))
        if x is None:
            raise ValueError(f"{path} has an input {shown(name)}, which is not among the inputs {listed(list(call))}")
        dtype = _FLOATS.get(kind, kind.removeprefix("tensor(").removesuffix(")"))
        feeds[name] = np.ascontiguousarray(x.astype(dtype))
    return feeds
