"""HDF5 files for tests of tf_model.h5 and of the reader of HDF5."""

import h5py

from albert_np.checkpoints.formats import h5
from support import TESTS, refusals

GOLDENS = TESTS / "goldens" / "formats"


def made(tmp_path, fill):
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def refusal(path):
    message = refusals.refusal(lambda: [tensor.load() for tensor in h5.read(path)])
    assert path.name in message
    return message


def datasets(path):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, x: found.update({name: x[...]}) if isinstance(x, h5py.Dataset) else None)
    return found
