from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import SourceError
from onlooker.stream.live.address import parse_address, redact


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("rtsp://user:secret@host/path", "rtsp://user:***@host/path"),
        ("rtsp://user:s%40cret@host:8554/path?x=1", "rtsp://user:***@host:8554/path?x=1"),
        ("rtsp://token0123@host/path", "rtsp://***@host/path"),
        ("rtsp://user:@host/path", "rtsp://user:***@host/path"),
        ("rtsp://host/user=admin&password=secret&channel=1", "rtsp://host/user=admin&password=***&channel=1"),
        ("http://host/video?token=secret#x", "http://host/video?token=***#x"),
        ("http://host/v?PWD=secret;api_key=abc", "http://host/v?PWD=***;api_key=***"),
        ("rtsp://user:se/cret@host/path", "rtsp://user:***@host/path"),
        ("rtsp://user:se#cret@host/path", "rtsp://user:***@host/path"),
        ("rtsp://user:se?cr@et@host/path", "rtsp://user:***@host/path"),
        ("rtsp://user:12#34@host/path", "rtsp://user:***@host/path"),
        ("rtsp://host/@main", "rtsp://host/@main"),
        ("rtsp://user:secret@host/@main", "rtsp://user:***@main"),
        ("rtsp://[::1]:8554/x", "rtsp://[::1]:8554/x"),
        ("theatre:7", "theatre:7"),
        ("see rtsp://u:secret@a/b and http://u:secret@c", "see rtsp://u:***@a/b and http://u:***@c"),
    ],
)
def test_no_credentials_are_shown(spec: str, shown: str) -> None:
    assert redact(spec) == shown


passwords = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x24F), min_size=3, max_size=20)


@given(passwords)
def test_an_encoded_password_comes_through_whole_and_is_never_shown(password: str) -> None:
    url = f"rtsp://bob:{quote(password, safe='')}@203.0.113.7:8554/live"
    address = parse_address(url)
    assert (address.user, address.password, address.host, address.port) == ("bob", password, "203.0.113.7", 8554)
    assert address.shown == "rtsp://bob:***@203.0.113.7:8554/live"
    assert address.identity == address.target == "rtsp://203.0.113.7:8554/live"


@given(passwords)
def test_a_password_is_taken_out_of_any_text_however_it_is_written(password: str) -> None:
    address = parse_address(f"rtsp://bob:{quote(password, safe='')}@203.0.113.7:8554/live")
    for written in (password, quote(password, safe=""), quote(password), quote_plus(password), address.url):
        hidden = address.hide(f"<<{written}>>")
        assert hidden in ("<<***>>", f"<<{address.shown}>>") or password in "<<***>>"


@given(passwords)
def test_an_unencoded_password_is_not_shown_either(password: str) -> None:
    shown = redact(f"rtsp://bob:{password}@host/live")
    assert password not in shown.removeprefix("rtsp://bob:***@host/live")
    assert shown.startswith("rtsp://bob:***@") and len(shown) <= len("rtsp://bob:***@host/live")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("rtsp:///path", "names no host"),
        ("rtsp://user:se#cret@host/x", "percent-encoded"),
        ("rtsp://host:99999/x", "percent-encoded"),
        ("rtsp://ho st/x", "space or a control sign"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(spec: str, why: str) -> None:
    with pytest.raises(SourceError, match=why) as caught:
        parse_address(spec)
    assert "cret" not in str(caught.value)


def test_a_new_password_names_no_other_camera() -> None:
    one, other = (parse_address(f"rtsp://{who}@CAM/x?token={token}") for who, token in (("a:b", "1"), ("c:d", "2")))
    assert one.identity == other.identity == "rtsp://cam/x?token=***"
    assert parse_address("rtsp://a:b@cam/@main").identity == "rtsp://cam/@main"
    assert (one.port, one.place) == (554, "cam:554")
