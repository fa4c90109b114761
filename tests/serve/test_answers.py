"""Which answer a header Accept chooses (RFC 9110, section 12.5.1)."""

import pytest

from ucc.serve.answers import choose
from ucc.serve.limits import RefusedError
from ucc.serve.pictures_api import ANSWERS, CLASS_MAP, JSON, OVERLAY, UNCERTAINTY


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], CLASS_MAP),
        ([""], CLASS_MAP),
        (["*/*"], CLASS_MAP),
        (["image/*"], CLASS_MAP),
        (["image/png"], CLASS_MAP),
        (["IMAGE/PNG; Output=Overlay"], OVERLAY),
        (['image/png;output="uncertainty"'], UNCERTAINTY),
        (["application/json"], JSON),
        (["application/json; charset=UTF-8"], JSON),
        (["text/html, application/json;q=0.9, */*;q=0.1"], JSON),
        (["image/png;q=0.5, application/json"], JSON),
        (["image/png", "application/json;q=0.5"], CLASS_MAP),
        (["image/png;q=0.5, image/png;output=overlay"], OVERLAY),
        (["image/png;output=overlay;q=0.3, application/json;q=0.4"], JSON),
        (["*/*, image/png;q=0"], JSON),
        (["*/*, image/*;q=0, image/png;output=overlay"], OVERLAY),
        (["nonsense, application/json"], JSON),
        ([f"image/png{1000 * ';'}q=1, application/json;q=0.1"], JSON),
        (["image/png;output*=utf-8''overlay, application/json;q=0.1"], JSON),
        (["*/*;q*=1, application/json"], JSON),
        (["image/png;x*00=1;x*=2, application/json"], JSON),
        (["image/png;q=much, application/json;q=0.1"], JSON),
        (["text/html, application/xhtml+xml, image/avif, image/webp, */*;q=0.8"], CLASS_MAP),
    ],
)
def test_the_client_gets_what_it_rates_highest(accept: list[str], expected: str) -> None:
    assert choose(accept, ANSWERS) == expected


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/png;output=negative", "application/json;q=0", "nonsense", "*/png", "image/png;q=2", ";;,,"],
)
def test_where_nothing_is_acceptable_the_refusal_lists_what_there_is(accept: str) -> None:
    with pytest.raises(RefusedError, match="Nothing acceptable") as caught:
        choose([accept], ANSWERS)
    assert caught.value.status == 406
    assert all(offer in str(caught.value) for offer in ANSWERS)
