"""What the container of a video file says about its own length, read without a decoder.

A video that was cut off in transit still opens, and libraries then end early without an error. But MP4, Matroska, AVI,
WebP and PNG announce the lengths of their parts, and a part that extends past the end of the file proves that bytes are
missing. So does a last frame of raw video (.y4m) that is not whole. Sources: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML),
the RIFF specification, RFC 9649 (WebP), the PNG specification, the YUV4MPEG2 page of MultimediaWiki.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_CLUSTER = 0x1F43B675
# SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags, and Void and CRC-32, which may stand anywhere
_SEGMENT_PARTS = {
    _CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF,
}  # fmt: skip
# Timestamp, SimpleBlock, BlockGroup, Position, PrevSize, SilentTracks, EncryptedBlock
_CLUSTER_PARTS = {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF, 0xEC, 0xBF}
_BOXES = {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx", b"mfra", b"uuid", b"meta"}


def bytes_missing(path: Path) -> int:
    """Return how many bytes of the container's announced length the file lacks.

    0 also where the container announces nothing (streams, MPEG-TS) or is of another kind.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _BOXES:
            end = _end_of_boxes(file, size)
        elif head[:4] == _EBML:
            end = _end_of_segment(file)
        elif head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
            end = _end_of_riff(file, size)
        elif head[:8] == _PNG:
            end = _end_of_png(file, size)
        elif head[:9] == b"YUV4MPEG2":
            end = _end_of_y4m(file, size)
        else:
            return 0
    return max(0, end - size)


def webp_canvas(path: Path) -> tuple[int, int] | None:
    """Return the (width, height) in pixels of an animated WebP from its header; None for all other files."""
    try:
        with path.open("rb") as file:
            head = file.read(30)
    except OSError:
        return None
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8X" or not head[20] & 0x02:
        return None
    return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")


def matroska_breaks_at(path: Path) -> int | None:
    """Return the byte at which the element tree of a Matroska or WebM file breaks.

    Decoders skip a broken place up to the next cluster and silently lose the frames between. Only elements that hold
    frames are followed, by their headers, and live streams (unknown lengths) are not followed.

    Returns:
        The byte; None for a whole tree and for files of another kind.
    """
    with path.open("rb") as file:
        if file.read(4) != _EBML:
            return None
        end = min(_end_of_segment(file), path.stat().st_size)
        at = file.tell()
        while at < end:
            kind, length, body = _element(file, at)
            if length is None and kind in _SEGMENT_PARTS:
                return None
            if kind not in _SEGMENT_PARTS or length is None:
                return at
            if kind == _CLUSTER and (broken := _cluster_breaks_at(file, body, body + length)) is not None:
                return broken
            at = body + length
    return None


def _cluster_breaks_at(file: BinaryIO, at: int, end: int) -> int | None:
    while at < end:
        kind, length, body = _element(file, at)
        if kind not in _CLUSTER_PARTS or length is None or body + length > end:
            return at
        at = body + length
    return None


def _element(file: BinaryIO, at: int) -> tuple[int, int | None, int]:
    """Return an element's id, its length (None if unknown) and where its body begins."""
    file.seek(at)
    first = file.read(1)
    n_more = 8 - first[0].bit_length() if first and first[0] else 0
    kind = int.from_bytes(first + file.read(n_more))
    length = _ebml_number(file)
    return kind, length, file.tell()


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Walk the top-level boxes: a 4-byte length that counts itself, 4 letters, perhaps an 8-byte length."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        if kind not in _BOXES:  # what follows is no box: foreign bytes behind a whole file
            return at
        if length == 1:
            length = int.from_bytes(header[8:16])
        if length == 0:  # to the end of the file, whatever that is
            return size
        at += max(length, 8)
    return at


def _end_of_segment(file: BinaryIO) -> int:
    """Skip the EBML header and return the end of the Segment, which holds everything else; 0 if it is not known."""
    file.seek(4)
    length = _ebml_number(file)
    if length is None:
        return 0
    file.seek(length, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _ebml_number(file)
    return 0 if length is None else file.tell() + length


def _ebml_number(file: BinaryIO) -> int | None:
    """Read a length whose leading zero bits say how many more bytes it has; all ones mean unknown (a live stream)."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    n_more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> n_more)]) + file.read(n_more))
    return None if value == (1 << 7 * (n_more + 1)) - 1 else value


def _end_of_riff(file: BinaryIO, size: int) -> int:
    """Return the end of the RIFF chunks; long files have several, one after the other, padded to even lengths."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return at
        length = int.from_bytes(header[4:], "little")
        at += 8 + length + length % 2
    return at


def _end_of_png(file: BinaryIO, size: int) -> int:
    """Walk the chunks, each of a length, a name, its data and a checksum, up to the one that ends every PNG."""
    at = 8
    while at < size:
        file.seek(at)
        header = file.read(8)
        at += 12 + int.from_bytes(header[:4])
        if header[4:] == b"IEND":
            return at
    return max(at, size + 12)


def _end_of_y4m(file: BinaryIO, size: int) -> int:
    """Return where the last frame ends: each has a line of text and as many bytes as the header's format needs."""
    header = file.readline(1024).decode("ascii", "replace").split()
    fields = {field[0]: field[1:] for field in header[1:]}
    match = re.match(r"(420|422|444alpha|444|411|410|mono)\w*?(?:p?(9|10|12|14|16))?$", fields.get("C", "420"))
    if match is None or not (fields.get("W", "").isdecimal() and fields.get("H", "").isdecimal()):
        return 0
    w, h = int(fields["W"]), int(fields["H"])
    across, down = {"420": (2, 2), "422": (2, 1), "411": (4, 1), "410": (4, 4)}.get(match.group(1), (1, 1))
    chroma = -(-w // across) * -(-h // down)
    samples = {"mono": w * h, "444alpha": 4 * w * h}.get(match.group(1), w * h + 2 * chroma)
    length = samples * (2 if match.group(2) else 1)
    end = file.tell()
    while end < size and length:
        file.seek(end)
        end += len(file.readline(1024)) + length
    return end
