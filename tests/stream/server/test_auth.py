from pathlib import Path

import pytest

from onlooker.errors import SettingsError
from onlooker.stream.server.auth import Guard, Offer, check_token, new_token, page_address, read_token_file

TOKEN = "a-token-for-tests-only"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_new_tokens_differ_and_fit_their_own_rules() -> None:
    made = {new_token() for _ in range(50)}
    assert len(made) == 50
    assert all(check_token(token, "it") == token and len(token) == 43 for token in made)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 257, "has a space in it....", "new\nline-new-line-new", "ümlaut-ümlaut-ümlaut"]
)
def test_tokens_that_do_not_fit_are_refused_without_being_shown(token: str) -> None:
    with pytest.raises(SettingsError, match="openssl rand -hex 32") as caught:
        check_token(token, "--token")
    assert not token or token not in str(caught.value)


def test_a_token_file_gives_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"  {TOKEN}\n# of the camera in the hall\n")
    assert read_token_file(tmp_path / "token") == TOKEN
    (tmp_path / "empty").write_text("")
    for name in ("empty", "missing"):
        with pytest.raises(SettingsError, match=name):
            read_token_file(tmp_path / name)


def test_the_token_stands_in_the_fragment_of_the_page_address() -> None:
    assert page_address("http", "127.0.0.1", 8765, TOKEN) == f"http://127.0.0.1:8765/#token={TOKEN}"
    assert page_address("https", "::1", 1, None) == "https://[::1]:1/"


@pytest.mark.parametrize(
    ("authorization", "subprotocols", "offer"),
    [
        ([f"Bearer {TOKEN}"], [], Offer(TOKEN, bearer=True)),
        ([f"bearer   {TOKEN} "], [], Offer(TOKEN, bearer=True)),
        (["Bearer "], [], Offer(None, bearer=True)),
        (["Basic dXNlcjpwYXNz"], [], Offer(None, bearer=True)),
        ([f"Bearer {TOKEN}"] * 2, [], Offer(None, bearer=True)),
        ([], ["onlooker.v1", f"onlooker.token.{TOKEN}"], Offer(TOKEN)),
        ([], ["onlooker.v1"], Offer()),
        ([], ["onlooker.token.one", f"onlooker.token.{TOKEN}"], Offer()),
        (["Basic dXNlcjpwYXNz"], [f"onlooker.token.{TOKEN}"], Offer(None, bearer=True)),
    ],
)
def test_offers_are_read_from_headers_and_subprotocols(
    authorization: list[str], subprotocols: list[str], offer: Offer
) -> None:
    assert Offer.of(authorization, subprotocols) == offer


def test_only_the_right_token_passes() -> None:
    guard = Guard(TOKEN)
    assert guard.check(Offer(TOKEN), "10.0.0.1") == "passed"
    assert guard.check(Offer(), "10.0.0.1") == "missing"
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü" * 20, "\udcff"):
        assert guard.check(Offer(wrong), "10.0.0.1") == "wrong"
    assert guard.refused == 7


def test_guesses_of_an_address_run_out_and_come_back() -> None:
    clock = Clock()
    guard = Guard(TOKEN, burst=3, every_s=6.0, clock=clock)
    assert [guard.check(Offer("wrong"), "10.0.0.1") for _ in range(4)] == ["wrong"] * 3 + ["locked"]
    assert guard.check(Offer(TOKEN), "10.0.0.1") == "locked"  # else a guess could be told from its answer
    assert guard.retry_s("10.0.0.1") == 6
    assert guard.check(Offer(TOKEN), "10.0.0.2") == "passed"
    clock.now_s += 6.0
    assert guard.retry_s("10.0.0.1") == 0
    assert guard.check(Offer(TOKEN), "10.0.0.1") == "passed"
    clock.now_s += 60.0
    assert [guard.check(Offer("wrong"), "10.0.0.1") for _ in range(4)] == ["wrong"] * 3 + ["locked"]


@pytest.mark.parametrize(("characters", "verdict"), [(31, "locked"), (32, "passed")])
def test_guesses_of_others_lock_out_only_a_token_that_could_be_guessed(characters: int, verdict: str) -> None:
    """Behind a proxy everyone has one address."""
    token = "t" * characters
    guard = Guard(token, burst=2, clock=Clock())
    assert [guard.check(Offer("wrong"), "127.0.0.1") for _ in range(3)] == ["wrong", "wrong", "locked"]
    assert guard.check(Offer(token), "127.0.0.1") == verdict
    assert guard.check(Offer("wrong"), "127.0.0.1") == "locked"


def test_a_missing_token_costs_no_guess() -> None:
    guard = Guard(TOKEN, burst=1, clock=Clock())
    assert {guard.check(Offer(), "10.0.0.1") for _ in range(20)} == {"missing"}
    assert guard.check(Offer(TOKEN), "10.0.0.1") == "passed"


def test_an_ipv6_network_counts_as_one_address() -> None:
    guard = Guard(TOKEN, burst=2, clock=Clock())
    assert [guard.check(Offer("wrong"), f"2001:db8::{number}") for number in range(1, 4)] == [
        "wrong",
        "wrong",
        "locked",
    ]
    assert guard.check(Offer(TOKEN), "2001:db8:0:1::1") == "passed"
    assert guard.check(Offer("wrong"), "::ffff:10.0.0.9") == "wrong"
    assert guard.check(Offer("wrong"), "10.0.0.9") == "wrong"
    assert guard.check(Offer("wrong"), "10.0.0.9") == "locked"


def test_a_flood_of_addresses_is_not_remembered_for_ever() -> None:
    guard = Guard(TOKEN, clock=Clock())
    for number in range(10_000):
        guard.check(Offer("wrong"), f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(guard._guesses) == 4096
