"""The formats of weight files: each has a reader, most have a writer, and each framework has a table of its names.

protocol.py says what a Format is and what its reader and writer promise. FORMATS, below, has their order. The modules are

    format        file                 reader                                        writer                  names
    safetensors   model.safetensors    safetensors                                   safetensors             (see below)
    bin           pytorch_model.bin    bin, zip_archive, pickle_program              bin_writer              Hugging Face's
    h5            tf_model.h5          h5, hdf5                                      h5_writer               tensorflow_names
    msgpack       flax_model.msgpack   msgpack, msgpack_codes                        msgpack_writer          flax_names
    tf1           *.index              tf1, tensor_bundle, sstable, crc32c           none                    google_names
    onnx          model.onnx           onnx, onnx_file, protobuf_file, onnx_steps    conversion.onnx_model   onnx_roles

A safetensors file has Hugging Face's names, or those of TensorFlow or Flax, as its metadata says. values.py reads numbers
that are contiguous in a file, for all formats that have such.

The way of a name: a reader gives each tensor the name that it is stored under and, if that is another framework's, Hugging
Face's (Tensor.hub_name). ../spellings.py takes away what wrappers put before it. What is left is a name of ../names.py, which
has every tensor that ALBERT stores, with its shape.

To add a format, write a module with a FORMAT and name it in FORMATS. CONTRIBUTING.md lists what else a format needs.
"""

from __future__ import annotations

from albert_np.checkpoints.formats import bin, h5, msgpack, onnx, safetensors, tf1
from albert_np.checkpoints.formats.protocol import Format

# a checkpoint is read in the first format that it has a file of
FORMATS: tuple[Format, ...] = (
    safetensors.FORMAT,
    bin.FORMAT,
    h5.FORMAT,
    msgpack.FORMAT,
    tf1.FORMAT,
    onnx.FORMAT,
)
TENSORFLOW = ("tf1", "h5")  # what from_tf=True reads, in transformers' order
FLAX = ("msgpack",)
PYTORCH = ("safetensors", "bin")


def in_order(
    own: str = "",
    *,
    from_tf: bool = False,
    from_flax: bool = False,
    from_pt: bool = False,
    use_safetensors: bool | None = None,
) -> tuple[Format, ...]:
    """The formats to look for, the first one first. The arguments are those of from_pretrained in transformers.

    own: the format that a class looks for before all others. from_tf, from_flax, from_pt: nothing but the files of TensorFlow,
    Flax or PyTorch. use_safetensors: True for nothing but safetensors, False for anything else. Raises ValueError if they
    exclude each other.
    """
    if from_tf + from_flax + from_pt + (use_safetensors is True) > 1:
        raise ValueError(
            "from_tf=True, from_flax=True, from_pt=True and use_safetensors=True exclude each other: give one"
        )
    if from_tf or from_flax or from_pt:
        names = TENSORFLOW if from_tf else FLAX if from_flax else PYTORCH
        return tuple(sorted((kind for kind in FORMATS if kind.name in names), key=lambda kind: names.index(kind.name)))
    found = [kind for kind in FORMATS if use_safetensors is None or (kind.name == "safetensors") == use_safetensors]
    return tuple(sorted(found, key=lambda kind: kind.name != own))
