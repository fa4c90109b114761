"""Which of several answers a client wants: the header Accept (RFC 9110, section 12.5.1)."""

from collections.abc import Mapping, Sequence
from email.message import Message
from typing import NamedTuple

from ucc.serve.limits import RefusedError

# Of one media type: the time to read its parameters grows with the square of its length.
MOST_CHARACTERS = 1000


class MediaType(NamedTuple):
    """`image/png;output=overlay`: type, subtype and parameters, in lower case."""

    kind: str
    subtype: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "MediaType | None":
        """Read a media type or range; None if it is neither, or longer than any that exists."""
        if len(text) > MOST_CHARACTERS:
            return None
        message = Message()
        message["content-type"] = text
        try:
            (name, _), *parameters = message.get_params() or [("", "")]
        except (TypeError, ValueError):  # parts of a value (RFC 2231) that do not belong together
            return None
        if not all(isinstance(value, str) for _, value in parameters):  # of such a value: with a charset
            return None
        kind, slash, subtype = name.strip().lower().partition("/")
        if not (kind and slash and subtype) or (kind == "*" and subtype != "*"):
            return None
        return cls(kind, subtype, {key.lower(): value.lower() for key, value in parameters})

    def matches(self, offer: "MediaType") -> bool:
        """Whether the range includes the offer: with no parameters, it includes those of any."""
        return (
            self.kind in ("*", offer.kind)
            and self.subtype in ("*", offer.subtype)
            and all(offer.parameters.get(key) == value for key, value in self.parameters.items())
        )

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        """Of several ranges that match, the one of the largest decides."""
        return self.kind != "*", self.subtype != "*", len(self.parameters)


def choose(accept: Sequence[str], offers: Sequence[str]) -> str:
    """The one of `offers`, the service's preference first, that the values of the header Accept rate highest.

    Without the header, the first. Ranges that cannot be read are passed over.

    Raises:
        RefusedError: 406, listing the offers, if none is acceptable.
    """
    if not any(text.strip() for text in accept):
        return offers[0]
    ranges = [parsed for text in ",".join(accept).split(",") if (parsed := _range(text))]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=qualities.__getitem__)
    if not qualities[best]:
        raise RefusedError(406, f"Nothing acceptable; Accept may ask for {', '.join(offers)}.")
    return best


def _range(text: str) -> tuple[MediaType, float] | None:
    media = MediaType.parse(text)
    if media is None:
        return None
    parameters = dict(media.parameters)
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        return None
    # JSON has one encoding, and clients name it.
    if media.subtype == "json" and parameters.get("charset") == "utf-8":
        del parameters["charset"]
    return (media._replace(parameters=parameters), quality) if 0 <= quality <= 1 else None


def _quality(offer: str, ranges: Sequence[tuple[MediaType, float]]) -> float:
    offered = MediaType.parse(offer)
    assert offered is not None
    matching = [(media.specificity, quality) for media, quality in ranges if media.matches(offered)]
    return max(matching)[1] if matching else 0.0
