import pytest

from onlooker.errors import SettingsError
from onlooker.stream.server.origins import OriginPolicy, is_loopback, read_host, read_origin


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("localhost:8765", ("localhost", 8765)),
        ("LocalHost.", ("localhost", None)),
        ("[::1]:80", ("::1", 80)),
        ("[0:0:0:0:0:0:0:1]", ("::1", None)),
        ("[::ffff:127.0.0.1]", ("127.0.0.1", None)),
        ("cam.example.com:443", ("cam.example.com", 443)),
        ("", None),
        (".", None),
        ("host:", None),
        ("host:99999", None),
        ("::1", None),
        ("user@localhost", None),
        ("localhost/evil", None),
        ("localhost\t", None),
        ("a b", None),
        ("ünicode", None),
    ],
)
def test_host_headers_are_split_or_refused(header: str, read: tuple[str, int | None] | None) -> None:
    assert read_host(header) == read


@pytest.mark.parametrize(
    ("origin", "read"),
    [
        ("http://localhost", ("http", "localhost", 80)),
        ("HTTPS://Cam.Example.com:8443", ("https", "cam.example.com", 8443)),
        ("null", None),
        ("", None),
        ("file://", None),
        ("chrome-extension://abc", None),
        ("http://localhost/page", None),
        ("http://localhost@evil.example", None),
        ("javascript:alert(1)", None),
    ],
)
def test_origins_are_split_or_refused(origin: str, read: tuple[str, str, int] | None) -> None:
    assert read_origin(origin) == read


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_only_names_of_this_server_pass_as_host() -> None:
    policy = OriginPolicy.of("192.168.1.5", ["cam.example.com"])
    for passes in ("localhost:1", "127.0.0.1", "[::1]:8765", "192.168.1.5:8765", "CAM.example.com.:443"):
        assert policy.host_passes([passes], "192.168.1.5")
    for fails in ("evil.example", "192.168.1.6", "localhost.evil.example", "cam.example.com.evil.example", "127.0.0.2"):
        assert not policy.host_passes([fails], "192.168.1.5")
    assert not policy.host_passes([], "192.168.1.5")
    assert not policy.host_passes(["localhost", "localhost"], "192.168.1.5")


def test_a_server_on_every_address_is_known_by_the_one_that_was_used() -> None:
    policy = OriginPolicy.of("0.0.0.0")
    assert policy.host_passes(["192.168.1.5:8765"], "192.168.1.5")
    assert not policy.host_passes(["192.168.1.6"], "192.168.1.5")
    assert not policy.host_passes(["rebound.example"], "192.168.1.5")
    assert OriginPolicy.of("::").host_passes(["[fe80::1]"], "fe80::1%eth0")
    assert not OriginPolicy.of("127.0.0.1").host_passes(["192.168.1.5"], "192.168.1.5")


def test_own_page_and_allowed_pages_pass_as_origin() -> None:
    policy = OriginPolicy.of("127.0.0.1", [], ["https://app.example.com/"])
    own = "localhost:8765"
    assert policy.origin_passes(["http://localhost:8765"], own, may_lack=False)
    assert policy.origin_passes(["https://app.example.com:443"], own, may_lack=False)
    for fails in (
        "https://localhost:8765",
        "http://localhost:8766",
        "http://localhost",
        "http://127.0.0.1:8765",
        "http://app.example.com",
        "https://app.example.com.evil.example",
        "null",
        "",
    ):
        assert not policy.origin_passes([fails], own, may_lack=True)
    assert not policy.origin_passes(["http://localhost:8765"] * 2, own, may_lack=True)
    assert policy.origin_passes([], own, may_lack=True)
    assert not policy.origin_passes([], own, may_lack=False)


def test_default_ports_may_be_left_out() -> None:
    assert OriginPolicy.of("127.0.0.1").origin_passes(["http://localhost"], "localhost:80", may_lack=False)
    assert OriginPolicy.of("::1", secure=True).origin_passes(["https://[::1]:443"], "[::1]", may_lack=False)


def test_what_is_no_name_and_no_origin_is_refused_with_an_example() -> None:
    with pytest.raises(SettingsError, match=r"--allow-host 'https://cam'.*such as cam\.example\.com"):
        OriginPolicy.of("127.0.0.1", ["https://cam"])
    for origin in ("cam.example.com", "https://cam/page", "null", "*"):
        with pytest.raises(SettingsError, match=r"--allow-origin.*such as https://cam\.example\.com"):
            OriginPolicy.of("127.0.0.1", [], [origin])
