from onlooker.stream.server.images import ImageRing


def test_the_oldest_go_when_there_are_too_many_or_too_large_ones() -> None:
    ring = ImageRing(3, 100)
    names = [ring.add(bytes([number]) * 20) for number in range(5)]
    assert len(set(names)) == 5
    assert [None if name is None else ring.get(name) for name in names] == [
        None,
        None,
        b"\2" * 20,
        b"\3" * 20,
        b"\4" * 20,
    ]
    big = ring.add(b"x" * 90)
    assert big is not None and ring.get(big) == b"x" * 90
    assert len(ring) == 1 and ring.nbytes == 90


def test_nothing_and_what_never_fits_gets_no_name() -> None:
    ring = ImageRing(3, 100)
    assert ring.add(b"") is None
    assert ring.add(b"x" * 101) is None
    assert len(ring) == 0


def test_names_are_long_and_random() -> None:
    ring = ImageRing(1000, 1 << 20)
    names = {ring.add(b"x") for _ in range(500)}
    assert len(names) == 500
    assert all(name is not None and len(name) == 16 + len(".jpg") for name in names)
