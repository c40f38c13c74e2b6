import shutil
import subprocess
from pathlib import Path

import pytest

from onlooker.errors import SettingsError
from onlooker.stream.server.tls import check_binding, ssl_context

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")


def make_certificate(folder: Path, *, password: str | None = None) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    lock = ["-nodes"] if password is None else ["-passout", f"pass:{password}"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "1", *lock),
            *(
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                str(key),
                "-out",
                str(cert),
            ),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "cam.example.com"])
def test_plain_http_beyond_this_machine_is_refused_with_three_ways_out(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_binding(host, 8765, tls=False, insecure=False)
    for way in ("ssh -L 8765:localhost:8765", "--tls-cert", "openssl req", "--insecure-plain-http"):
        assert way in str(caught.value)
    check_binding(host, 8765, tls=True, insecure=False)
    check_binding(host, 8765, tls=False, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_plain_http_on_this_machine_is_fine(host: str) -> None:
    check_binding(host, 8765, tls=False, insecure=False)


def test_missing_certificate_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--tls-cert .*cert\.pem is no file.*openssl req"):
        ssl_context(tmp_path / "cert.pem", None)
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=r"--tls-key .*key\.pem is no file"):
        ssl_context(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(SettingsError, match="cannot be used"):
        ssl_context(tmp_path / "cert.pem", None)


@needs_openssl
def test_a_key_and_a_certificate_have_to_belong_together(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path / "one")
    _, other = make_certificate(tmp_path / "two")
    assert ssl_context(cert, key).get_ciphers()
    with pytest.raises(SettingsError, match="belong together"):
        ssl_context(cert, other)


@needs_openssl
def test_a_locked_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path / "one", password="secret")
    with pytest.raises(SettingsError, match=r"locked with a password.*openssl pkey"):
        ssl_context(cert, key)
