"""Members of one tar file of unknown origin, each checked before use; use `read_members`.

Nothing is extracted to disk, so a name is only a key; names that would be dangerous to whoever extracts are refused
all the same, and so is everything that is not a plain file. Damage costs what it hits: after a bad header the scan
goes on at the next good one.
"""

import io
import re
import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from empirical.arrays import ReadAccount

LARGEST_MEMBER = 1 << 28
"""Bytes; a larger member is refused before it is read (a compressed tar of kilobytes can claim terabytes)."""
_MOST_UNPACKED = 1 << 30
_MOST_EXPANSION = 200
"""A compressed tar is read up to this many bytes, or this many times its own size where that is more: images do not shrink
much, but bzip2 packs a terabyte of zeros into a megabyte, and only unpacking leads past them."""
_LARGEST_EXTENDED_HEADER = 1 << 14  # bytes; tarfile parses pax headers in quadratic time
_IMPOSSIBLE = 1 << 62  # bytes
_LONGEST_NAME = 4096
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_CHECKSUM = re.compile(rb"[ \0]*[0-7]{1,7}[ \0]*")
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)

LOST = "rest of a damaged shard lost"
SKIPPED = "damaged part of a shard skipped"


@dataclass(frozen=True)
class TarMember:
    """A plain file in a tar: its name, where its data starts (bytes, in the unpacked tar) and the data."""

    name: str
    offset: int
    data: bytes


class _CheckedHeader(tarfile.TarInfo):
    """A header whose size cannot send tarfile backwards or into reading a whole disk."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_CheckedHeader":
        header = super().frombuf(buf, encoding, errors)
        if not 0 <= header.size < _IMPOSSIBLE:
            raise tarfile.HeaderError("impossible size")
        if header.type in _EXTENDED and header.size > _LARGEST_EXTENDED_HEADER:
            raise tarfile.HeaderError("extended header is too large")
        return header  # type: ignore[return-value]  # typeshed says TarInfo, the code makes cls()


def refusal(member: tarfile.TarInfo) -> str | None:
    """Why a member may not be used, None when it may; folders are refused without a reason to count ("")."""
    if member.isdir():
        return ""
    if member.issym() or member.islnk():
        return "member is a link"
    if not member.isreg() or member.issparse():
        return "member is a device or another special file"
    if member.size > LARGEST_MEMBER:
        return f"member is larger than {LARGEST_MEMBER >> 20} MiB"
    name = member.name
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name):
        return "member has an absolute path"
    if ".." in re.split(r"[/\\]", name):
        return "member path leads upwards (..)"
    if len(name) > _LONGEST_NAME or any(unicodedata.category(c) == "Cc" for c in name):
        return "member name is too long or holds control characters"
    return None


def _readable(name: str) -> str:
    """The name as valid text: bytes that are not UTF-8 become backslash escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _open(file: BinaryIO, start: int, plain: bool) -> tarfile.TarFile:
    file.seek(start)
    return tarfile.open(fileobj=file, mode="r:" if plain else "r:*", tarinfo=_CheckedHeader, encoding="utf-8")


def read_members(path: str | Path, file: BinaryIO, account: ReadAccount) -> Iterator[TarMember]:
    """Plain files of one tar (also compressed), in order; what is refused or lost is counted in the account.

    tarfile takes a corrupt header, a zeroed block and a missing end for the end of the archive. Here a plain tar is
    searched for the next good header, and the end counts as one only when nothing but zeros follows.
    """
    files, start, plain, size = 0, 0, _is_plain(file), file.seek(0, io.SEEK_END)
    most = size if plain else max(_MOST_UNPACKED, _MOST_EXPANSION * size)
    while True:
        damage, offset, resume = None, start, start + _BLOCK
        try:
            with _open(file, start, plain) as tar:
                while (member := tar.next()) is not None:
                    vars(tar)["members"] = []  # tarfile would keep them all
                    if not offset < tar.offset < _IMPOSSIBLE:
                        raise tarfile.ReadError("header points backwards")
                    end = max(member.offset_data + member.size * member.isreg(), tar.offset - _BLOCK)
                    if plain and end > size:
                        raise tarfile.ReadError(f"unexpected end of data in {_readable(member.name)}")
                    offset, resume = tar.offset, tar.offset + _BLOCK
                    reason = refusal(member)
                    if reason:
                        account.skip(reason, f"{path}: {_readable(member.name)[:200]}")
                    files += reason != ""
                    if not plain and end > most:
                        raise tarfile.ReadError(f"it unpacks to more than {most >> 20} MiB")
                    if reason is not None:
                        continue
                    extracted = tar.extractfile(member)
                    assert extracted is not None
                    resume = offset  # what the disk cannot read costs this member, not the next one's header
                    data = extracted.read()
                    resume = offset + _BLOCK
                    if len(data) < member.size:
                        raise EOFError(f"unexpected end of data in {_readable(member.name)}")
                    yield TarMember(_readable(member.name), member.offset_data, data)
                stream, offset = tar.fileobj, tar.offset
                assert stream is not None
                stream.seek(offset)
                mark = stream.read(_BLOCK)
                if mark != bytes(_BLOCK):
                    damage = "no end-of-archive mark" if len(mark) < _BLOCK else "corrupt header"
        except (
            Exception
        ) as error:  # hostile headers get IndexError, zlib.error, RecursionError, ... out of tarfile
            damage = str(error).split("\n")[0] or type(error).__name__
        following = _next_header(file, resume, size) if plain else None
        if following is None:
            if damage is not None:
                account.skip(LOST, f"{path}: {damage}")
            elif not files:
                account.skip("shard without a file", str(path))
            return
        account.skip(SKIPPED, f"{path}: byte {offset}: {damage or 'zeros amid the members'}")
        start = following


def _is_plain(file: BinaryIO) -> bool:
    file.seek(0)
    return not file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))


def _next_header(file: BinaryIO, start: int, end: int) -> int | None:
    """Offset of the first valid tar header from `start` on (in steps of a block), None when there is none before `end`."""
    step = _CHUNK
    while start < end:
        try:
            file.seek(start)
            chunk = file.read(step)
        except OSError:  # a bad sector: block by block around it
            start += _BLOCK if step == _BLOCK else 0
            step = _BLOCK
            continue
        for at in range(0, len(chunk) - _BLOCK + 1, _BLOCK):
            if not _CHECKSUM.fullmatch(chunk, at + 148, at + 156):
                continue
            try:
                _CheckedHeader.frombuf(chunk[at : at + _BLOCK], "utf-8", "surrogateescape")
            except (tarfile.TarError, ValueError):
                continue
            return start + at
        start += max(len(chunk), _BLOCK)
    return None
