"""Sizes in bytes as users write and read them."""

from __future__ import annotations

import pytest

from videogen.core.byte_sizes import format_bytes, parse_bytes
from videogen.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("12GB", 12_000_000_000, id="decimal"),
        pytest.param("12 GiB", 12 << 30, id="binary, with a space"),
        pytest.param("11.5gb", 11_500_000_000, id="a fraction in lower case"),
        pytest.param(".5M", 500_000, id="a letter alone"),
        pytest.param("4096", 4096, id="bytes"),
        pytest.param(4096, 4096, id="a number"),
    ],
)
def test_sizes_are_read(text: str | int, count: int) -> None:
    assert parse_bytes(text, "memory") == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("12 gigs", "memory='12 gigs' is not a size in bytes; write it as 12GB", id="another unit"),
        pytest.param("lots", "memory='lots' is not a size", id="a word"),
        pytest.param("-3GB", "memory='-3GB' is not a size", id="negative"),
        pytest.param("0GB", "memory='0GB' must be above 0", id="zero"),
        pytest.param("1e9", "memory='1e9' is not a size", id="an exponent"),
    ],
)
def test_what_is_no_size_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_bytes(text, "memory")


def test_a_size_that_is_printed_can_be_read_back() -> None:
    assert parse_bytes(format_bytes(12_300_000_000), "memory") == 12_300_000_000
