"""The zip archive of pytorch_model.bin: only one of stored members, end to end, that says everything twice alike, is read."""

import io
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.refusals import refusal
from support.torch_files import legacy, program, storage, table, view, zipped

from albert_np.checkpoints.formats import bin

X = np.arange(6, dtype=np.float32)
CODE = program(table({"x": view(storage("0", 6), (2, 3))}))
CONTENT = {"m/data.pkl": CODE, "m/byteorder": b"little", "m/data/0": X.tobytes(), "m/version": b"3\n"}
ONES = 0xFFFFFFFF


@dataclass
class Member:
    """A member, and what its two headers say about it; `local` says otherwise only in its own."""

    name: bytes
    content: bytes
    flags: int = 0
    method: int = 0
    crc: int = 0
    packed: int = -1
    size: int = -1
    extra: bytes = b""
    note: bytes = b""
    disk: int = 0
    at: int = -1
    before: bytes = b""  # bytes between the member before and this one
    behind: bytes = b""  # its data descriptor
    local: dict = field(default_factory=dict)
    local_extra: bytes = b""

    def __post_init__(self):
        self.crc = self.crc or zlib.crc32(self.content)
        self.packed, self.size = (len(self.content) if n < 0 else n for n in (self.packed, self.size))


def members(**changes):
    """The sound ones; changes: {what the name ends with: other values}"""
    found = [Member(name.encode(), content) for name, content in CONTENT.items()]
    return [replace(member, **changes.get(member.name.decode().split("/")[-1].split(".")[0], {})) for member in found]


def archive(found, start=b"", more=b"", wide=None, **end):
    """more: bytes at the directory's end; end: other values of the last record; wide: those of zip64's, None without one."""
    out = bytearray(start)
    directory = b""
    for member in found:
        out += member.before
        at = len(out) if member.at < 0 else member.at
        own = SimpleNamespace(**vars(member) | member.local)
        values = own.flags, own.method, 0, 33, own.crc, own.packed, own.size, len(own.name), len(member.local_extra)
        out += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *values) + own.name + member.local_extra
        out += member.content + member.behind
        values = member.flags, member.method, 0, 33, member.crc, member.packed, member.size
        lengths = len(member.name), len(member.extra), len(member.note)
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *values, *lengths, member.disk, 0, 0, at)
        directory += member.name + member.extra + member.note
    directory += more
    says = {"disk": 0, "first": 0, "here": len(found), "count": len(found), "length": len(directory), "start": len(out)}
    says |= end
    behind = end.get("behind", b"")
    out += directory
    if wide is not None:
        at = len(out)
        record = {"length": 44, "made": 45, "needs": 45} | {k: says[k] for k in ("disk", "first")}
        record |= {f"{k}_": says[k] for k in ("here", "count", "length", "start")} | wide
        out += struct.pack("<4sQ2H2L4Q", b"PK\6\6", *list(record.values())[:9])
        out += struct.pack("<4sLQL", b"PK\6\7", wide.get("on", 0), wide.get("at", at), wide.get("disks", 1))
    keys = ("disk", "first", "here", "count", "length", "start")
    out += struct.pack("<4s4H2LH", b"PK\5\6", *(says[key] for key in keys), end.get("comment", 0)) + behind
    return bytes(out)


def wide_extra(*numbers, before=b""):
    return before + struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def descriptor(content, pattern="<4s3L", **changes):
    values = {"crc": zlib.crc32(content), "packed": len(content), "size": len(content)} | changes
    return struct.pack(pattern, b"PK\7\10", *values.values())


def load(path):
    return {tensor.name: tensor.load() for tensor in bin.read(path)}


def refused(folder, content):
    path = folder / "pytorch_model.bin"
    path.write_bytes(content)
    return refusal(load, path)


OPEN = {"flags": 8, "local": {"crc": 0, "packed": 0, "size": 0}}
SOUND = {
    "plain": members(),
    "UTF-8": members(data={"flags": 2048}),
    "aligned": members(data={"local_extra": b"FB" + struct.pack("<H", 20) + b"Z" * 20}),
    "described behind": [replace(member, **OPEN, behind=descriptor(member.content)) for member in members()],
    "described behind, and in front": members(data={"flags": 8, "behind": descriptor(CODE)}),
    "described behind, wide": members(data=OPEN | {"behind": descriptor(CODE, "<4sL2Q")}),
    "wide in front": members(
        data={"local": {"packed": ONES, "size": ONES}, "local_extra": wide_extra(len(CODE), len(CODE))}
    ),
    "wide in the directory": members(
        data={
            "packed": ONES,
            "size": ONES,
            "extra": wide_extra(len(CODE), len(CODE), before=b"FB\1\0Z"),
            "local": {"packed": len(CODE), "size": len(CODE)},
        }
    ),
    "an empty member, described behind in its flags alone": [*members(), Member(b"m/data/1", b"", **OPEN)],
    "a folder": [Member(b"m/", b""), *members()],
    "members that are not needed": [*members(), Member(b"m/.data/serialization_id", b"1" * 40)],
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_archives_are_read(tmp_path, name):
    path = tmp_path / "pytorch_model.bin"
    for wide in (None, {}):
        path.write_bytes(archive(SOUND[name], wide=wide))
        assert np.array_equal(load(path)["x"], X.reshape(2, 3))


def test_the_wide_end_may_stand_for_the_other(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    sound = archive(members(), wide={})
    path.write_bytes(sound[:-14] + b"\xff" * 12 + sound[-2:])
    assert np.array_equal(load(path)["x"], X.reshape(2, 3))


DAMAGED = {
    "deflated": (zipped(CODE, {"0": X.tobytes()}, method=zipfile.ZIP_DEFLATED), "compressed"),
    "a bomb": (zipped(CODE, {"0": bytes(10**7)}, method=zipfile.ZIP_DEFLATED), "compressed"),
    "a bomb of bzip2": (zipped(CODE, {"0": bytes(10**7)}, method=zipfile.ZIP_BZIP2), "compressed"),
    "a bomb of lzma": (zipped(CODE, {"0": bytes(10**6)}, method=zipfile.ZIP_LZMA), "compressed"),
    "stored, but smaller": (archive(members(data={"packed": 9})), "compressed"),
    "deflated in its own header": (archive(members(data={"local": {"method": 8}})), "in its own header"),
    "encrypted": (archive(members(data={"flags": 1})), "encrypted"),
    "strongly encrypted": (archive(members(data={"flags": 65})), "encrypted"),
    "patched": (archive(members(data={"flags": 32})), "patched"),
    "encrypted in its own header": (archive(members(data={"local": {"flags": 1}})), "in its own header"),
    "a comment of a member": (archive(members(data={"note": b"hi"})), "comment"),
    "a member on another disk": (archive(members(data={"disk": 1})), "in another file"),
    "a comment": (archive(members(), comment=2, behind=b"hi"), "cut off or damaged"),
    "a comment that is not there": (archive(members(), comment=2), "comment"),
    "bytes behind": (archive(members(), behind=b"\0"), "cut off or damaged"),
    "an archive behind": (archive(members()) * 2, "its directory ends at"),
    "bytes before": (archive(members(), start=b"PK\3\4" + bytes(60)), "its first 64 bytes"),
    "bytes before, unknown to the directory": (b"PK" + archive(members()), "its directory ends at"),
    "a gap": (archive(members(byteorder={"before": bytes(3)})), "the next thing is at"),
    "a descriptor that nobody announced": (archive(members(data={"behind": descriptor(CODE)})), "the next thing is at"),
    "a descriptor of 12 bytes": (archive(members(data=OPEN | {"behind": descriptor(CODE)[4:]})), "the next thing is at"),
    "no descriptor": (archive(members(data=OPEN)), "the next thing is at"),
    "another checksum behind": (archive(members(data=OPEN | {"behind": descriptor(CODE, crc=1)})), "behind its content"),
    "another size behind": (archive(members(data=OPEN | {"behind": descriptor(CODE, size=1)})), "behind its content"),
    "bytes before the directory": (archive(members(version={"behind": bytes(5)})), "the next thing is at"),
    "nothing in the directory": (archive([], start=archive(members())), "belong to no member"),
    "no member": (archive([]), "0 members called data.pkl"),
    "a member twice": (archive([*members(), members()[0]]), "twice"),
    "two members in one place": (archive([*members(), Member(b"m/data/1", X.tobytes(), at=0)]), "overlaps"),
    "a member inside another": (archive([*members(), Member(b"m/data/1", X.tobytes(), at=40)]), "overlaps"),
    "a member in the directory": (archive([*members(), Member(b"m/data/1", X.tobytes(), at=600)]), "leaves a gap"),
    "a member behind the end": (archive(members(version={"at": 10**6})), "leaves a gap"),
    "a member that is too long": (archive(members(version={"size": 10**9, "packed": 10**9})), "overlaps"),
    "another name in its own header": (archive(members(data={"local": {"name": b"m/evil.pkl"}})), "in its own header"),
    "another size in its own header": (archive(members(data={"local": {"size": 3}})), "in its own header"),
    "another checksum in its own header": (archive(members(data={"local": {"crc": 3}})), "in its own header"),
    "sizes of 2**64 - 1": (
        archive(members(data={"size": ONES, "packed": ONES, "extra": wide_extra(2**64 - 1, 2**64 - 1)})),
        "lacks its zip64 sizes",
    ),
    "sizes of 2**64 - 1, twice": (
        archive(
            members(
                data={"size": ONES, "packed": ONES, "extra": wide_extra(2**64 - 1, 2**64 - 1)}
                | {"local_extra": wide_extra(2**64 - 1, 2**64 - 1)}
            )
        ),
        "overlaps",
    ),
    "wide sizes that are missing": (archive(members(data={"size": ONES, "packed": ONES})), "lacks its zip64 sizes"),
    "one wide size of two": (
        archive(members(data={"size": ONES, "packed": ONES, "extra": wide_extra(3)})),
        "lacks its zip64 sizes",
    ),
    "a wide size that is cut": (
        archive(members(data={"size": ONES, "packed": ONES, "extra": wide_extra(3, 3)[:-1]})),
        "lacks its zip64 sizes",
    ),
    "an entry that is none": (archive(members()).replace(b"PK\1\2", b"PK\1\3", 1), "its directory has 0 entries"),
    "an entry that is cut": (archive(members(), more=b"PK\1\2" + bytes(9), count=5, here=5), "its directory has 4 entries"),
    "a header that is none": (archive(members()).replace(b"PK\3\4", b"PK\3\5").replace(b"PK\3\5", b"PK\3\4", 1), "no header"),
    "deflated to the same size": (archive(members(data={"method": 8})), "compressed"),
    "one member less than it says": (archive(members(), count=5, here=5), "its directory has 4 entries"),
    "one member more than it says": (archive(members(), count=3, here=3), "longer than its entries"),
    "several disks": (archive(members(), disk=1), "several files"),
    "a directory on another disk": (archive(members(), first=1), "several files"),
    "entries on other disks": (archive(members(), here=3), "several files"),
    "a directory of 4 GB": (archive(members(), length=ONES - 1), "its directory ends at"),
    "a wide end that disagrees": (archive(members(), wide={"count_": 9, "here_": 9}), "disagree"),
    "a wide end elsewhere": (archive(members(), wide={"at": 0}), "not where it should be"),
    "a wide end of several disks": (archive(members(), wide={"disks": 2}), "not where it should be"),
    "a wide end on another disk": (archive(members(), wide={"disk": 1}), "several files"),
    "a wide end with its directory on another disk": (archive(members(), wide={"first": 1}), "several files"),
    "a wide end that is on another disk": (archive(members(), wide={"on": 1}), "not where it should be"),
    "a wide end that is none": (archive(members(), wide={}).replace(b"PK\6\6", b"PK\6\5"), "not where it should be"),
    "a wide end of another length": (archive(members(), wide={"length": 45}), "another length"),
    "20,001 members": (archive(members(), count=20_001, here=20_001), "more than any real file"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_other_archives_are_refused(tmp_path, name):
    content, message = DAMAGED[name]
    assert message in refused(tmp_path, content)


@pytest.mark.parametrize(
    "name",
    [
        *["../evil", "m/../../evil", "/etc/passwd", "m//x", "m/./x", "..", "m\\..\\evil", "C:\\evil", "m/x\0", "m/\n", ""],
        *["m/\u202e", "\x1b[31m"],
    ],
)  # fmt: skip
def test_a_member_whose_name_leads_elsewhere_is_refused(tmp_path, name):
    """Though nothing is ever unpacked."""
    message = refused(tmp_path, archive([*members(), Member(name.encode(), b"x")]))
    assert "leads elsewhere" in message
    assert not (tmp_path.parent / "evil").exists()
    assert "UTF-8" in refused(tmp_path, archive([*members(), Member(b"m/\xff", b"x")]))


def test_everything_lies_in_one_folder_with_one_program(tmp_path):
    assert "lies outside of" in refused(tmp_path, archive([*members(), Member(b"n/x", b"x")]))
    assert "2 members called data.pkl" in refused(tmp_path, archive([*members(), Member(b"n/data.pkl", CODE)]))
    assert "0 members called data.pkl" in refused(tmp_path, archive([Member(b"data.pkl", CODE)]))
    assert "0 members called data.pkl" in refused(tmp_path, archive([Member(b"m/n/data.pkl", CODE)]))
    assert "TorchScript" in refused(tmp_path, archive([*members(), Member(b"m/constants.pkl", CODE)]))


def test_a_directory_of_real_length_with_too_many_members_is_refused(tmp_path):
    long = [Member(b"m/%d" % i, b"", extra=b"XX" + struct.pack("<H", 60_000) + bytes(60_000)) for i in range(36)]
    assert "more than any real file" in refused(tmp_path, archive([*members(), *long]))
    many = [Member(b"m/%d" % i, b"") for i in range(20_001)]
    assert "more than any real file" in refused(tmp_path, archive([*members(), *many], here=20_005, count=20_005))


@pytest.mark.parametrize("order", [b"big", b"", b"little\n", b"\xff", b"x" * 99])
def test_only_little_endian_numbers_are_read(tmp_path, order):
    message = refused(tmp_path, zipped(CODE, {"0": X.tobytes()}, {"byteorder": order}))
    assert "99 bytes" in message if len(order) > 16 else "in the byte order '" in message


def test_an_archive_without_byte_order_is_little_endian_as_before_torch_2_1(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(zipped(CODE, {"0": X.tobytes()}, {"byteorder": None}))
    assert np.array_equal(load(path)["x"], X.reshape(2, 3))


def test_a_program_with_another_checksum_is_damaged(tmp_path):
    changed = CODE.replace(b"X\x01\x00\x00\x00x", b"X\x01\x00\x00\x00y")
    assert "checksum" in refused(tmp_path, archive(members(data={"content": changed, "crc": zlib.crc32(CODE)})))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (struct.pack("<Q", 2) + b"{}", "safetensors"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x93NUMPY\x01", "NumPy"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"#!/bin/sh\n", "23 21 2f"),
        (b"MZ\x90\0", "4d 5a"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS"),
    ],
)
def test_a_file_of_two_formats_is_refused(tmp_path, head, message):
    """An archive's directory stands at its end, so that something else may stand before it; torch and Python read both."""
    for content in (head + archive(members()), archive(members(), start=head)):
        assert zipfile.is_zipfile(io.BytesIO(content))
        assert message in refused(tmp_path, content)


def test_safetensors_whose_numbers_are_an_archive_are_refused(tmp_path):
    inner = archive(members())
    header = b'{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(inner), len(inner))
    assert "safetensors" in refused(tmp_path, struct.pack("<Q", len(header)) + header + inner)


def test_a_file_that_is_too_short_is_refused(tmp_path):
    assert "of nothing" in refused(tmp_path, b"")
    for content in (b"PK", b"PK\5\6", b"PK\5\6" + bytes(17), b"PK\3\4PK\5\6"):
        assert "cut off or damaged" in refused(tmp_path, content)


def test_changed_contents_are_told_by_their_checksums(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    for changes, expected in {
        (): [],
        ((b"\x80?", b"\x81?"),): ["m/data/0"],
        ((b"\x80?", b"\x81?"), (b"little", b"big-en")): ["m/byteorder", "m/data/0"],
    }.items():
        content = archive(members())
        for old, new in changes:
            assert content.count(old) == 1
            content = content.replace(old, new)
        path.write_bytes(content)
        assert bin.damaged(path) == expected
    path.write_bytes(
        archive(members(byteorder={"content": b"big-en", "crc": 0})).replace(
            struct.pack("<L", zlib.crc32(b"big-en")), bytes(4)
        )
    )
    assert bin.damaged(path) == []  # torch may be told to leave them out
    path.write_bytes(legacy(CODE, {}, {}))
    assert bin.damaged(path) == []


def test_what_is_no_file_is_an_error(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.mkdir()
    with pytest.raises(OSError, match="pytorch_model"):
        load(path)
    with pytest.raises(OSError, match="absent"):
        load(tmp_path / "absent.bin")
    if os.geteuid():
        path.rmdir()
        path.write_bytes(archive(members()))
        path.chmod(0)
        with pytest.raises(OSError, match="pytorch_model"):
            load(path)
