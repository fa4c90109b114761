"""What a client sent, before anything is decoded: a PNG or JPEG, and how many pixels its header declares."""

import struct

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
# Frame headers of JPEG (ITU-T T.81, table B.1); C4, C8 and CC between them are other things.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def declared_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a PNG or JPEG declares; None if `encoded` is neither, or cut short."""
    if encoded.startswith(PNG):
        if len(encoded) < 24 or encoded[12:16] != b"IHDR":
            return None
        width, height = struct.unpack(">II", encoded[16:24])
        return width, height
    if encoded.startswith(JPEG):
        return _jpeg_size(encoded)
    return None


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Of the first frame header; a thumbnail lies inside a segment, which is skipped whole."""
    position = 2
    while position + 4 <= len(encoded):
        if encoded[position] != 0xFF:
            return None
        marker = encoded[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker in _FRAMES:
            if position + 9 > len(encoded):
                return None
            height, width = struct.unpack(">HH", encoded[position + 5 : position + 9])
            return width, height
        else:
            (length,) = struct.unpack(">H", encoded[position + 2 : position + 4])
            if length < 2:
                return None
            position += 2 + length
    return None
