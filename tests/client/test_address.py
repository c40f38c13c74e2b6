import pytest

from onlooker.client.address import read_address
from onlooker.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "socket_url", "token"),
    [
        ("http://127.0.0.1:8765/#token=abc-._~", "ws://127.0.0.1:8765/v1/realtime", "abc-._~"),
        ("https://eye.example/#token=abc", "wss://eye.example:443/v1/realtime", "abc"),
        ("ws://127.0.0.1:8765/v1/realtime", "ws://127.0.0.1:8765/v1/realtime", ""),
        ("WSS://Eye.Example", "wss://eye.example:443/v1/realtime", ""),
        ("127.0.0.1:8765", "ws://127.0.0.1:8765/v1/realtime", ""),
        ("robot.local", "ws://robot.local:80/v1/realtime", ""),
        ("robot.local:8765/#token=abc", "ws://robot.local:8765/v1/realtime", "abc"),
        ("http://[::1]:8765/", "ws://[::1]:8765/v1/realtime", ""),
        ("https://example.org/onlooker/", "wss://example.org:443/onlooker/v1/realtime", ""),
        ("https://example.org/onlooker/v1/realtime", "wss://example.org:443/onlooker/v1/realtime", ""),
    ],
)
def test_what_a_server_prints_is_an_address(
    monkeypatch: pytest.MonkeyPatch, url: str, socket_url: str, token: str
) -> None:
    monkeypatch.delenv("ONLOOKER_TOKEN", raising=False)
    address = read_address(url)
    assert (address.socket_url, address.token) == (socket_url, token)


def test_a_token_that_is_given_goes_before_the_addresss_and_that_before_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONLOOKER_TOKEN", "third")
    url = "http://h/#token=second"
    assert read_address(url, "first").token == "first"
    assert read_address(url).token == "second"
    assert read_address("http://h/").token == "third"
    assert read_address("http://h/", "").token == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://h:x",
        "http://u:p@h",
        "http://h/?token=abc",
        "file:///x",
        "://h",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        read_address(url)


@pytest.mark.parametrize("url", ["http://h:x/#token=secret", "ftp://h/#token=secret", "http://u@h/#token=secret"])
def test_a_token_is_never_shown(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_address(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(read_address("http://h/#token=secret"))


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "é"])
def test_a_token_that_would_break_a_header_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match="token"):
        read_address("http://h", token)
