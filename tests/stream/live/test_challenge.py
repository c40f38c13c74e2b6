import hashlib
import re

from onlooker.stream.live.challenge import answer

BASIC = 'Basic realm="cam"'


def test_basic() -> None:
    """The example of RFC 7617, section 2."""
    told = answer(['Basic realm="WallyWorld"'], "Aladdin", "open sesame", "GET", "/")
    assert told == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_digest_of_the_standard() -> None:
    """The example of RFC 7616, section 3.9.1: MD5 and SHA-256."""
    for name, expected in (
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        challenge = (
            f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={name}, '
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
            'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
        )
        told = answer(
            [challenge],
            "Mufasa",
            "Circle of Life",
            "GET",
            "/dir/index.html",
            nonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        assert told is not None
        assert f'response="{expected}"' in told
        assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in told
        assert f"algorithm={name}" in told


def test_digest_as_cameras_ask_for_it() -> None:
    """Without a qop: RFC 2069, which most cameras speak."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    told = answer(['Digest realm="IPC", nonce="abc"', BASIC], "bob", "pw", "DESCRIBE", "rtsp://cam/1")
    assert told is not None
    found = re.search(r'response="(\w+)"', told)
    assert found is not None
    assert found[1] == md5(f"{md5('bob:IPC:pw')}:abc:{md5('DESCRIBE:rtsp://cam/1')}")
    assert "qop" not in told


def test_digest_goes_before_basic_and_what_is_unknown_is_left_out() -> None:
    assert str(answer([BASIC, 'Digest realm="x", nonce="y"'], "u", "p", "GET", "/")).startswith("Digest ")
    assert str(answer(['Digest realm="x", nonce="y", algorithm=SHA-512-256', BASIC], "u", "p", "GET", "/")).startswith(
        "Basic "
    )
    assert answer(["NTLM"], "u", "p", "GET", "/") is None
    assert answer([], "u", "p", "GET", "/") is None
