"""What is kept of texts is bounded by how long they are together, and who is asked for often stays."""

from __future__ import annotations

from moorage.core.kept import kept_by_length


def test_what_is_kept_is_bounded_by_the_length_of_the_texts_and_the_latest_asked_for_stay() -> None:
    computed: list[tuple[str, int]] = []

    @kept_by_length(1000)
    def size(text: str, more: int) -> int:
        computed.append((text[:1], more))
        return len(text) + more

    long = {letter: letter * 400 for letter in "abc"}
    assert [size(long[name], 1) for name in "ababa"] == [401] * 5
    assert computed == [("a", 1), ("b", 1)]
    assert size(long["a"], 2) == 402, "another argument is another question; b is gone for it"
    assert [size(long[name], 1) for name in "ab"] == [401, 401]
    assert computed == [("a", 1), ("b", 1), ("a", 2), ("b", 1)]


def test_a_text_that_alone_is_too_long_is_computed_each_time_and_short_ones_count_too() -> None:
    computed = 0

    @kept_by_length(1000)
    def size(text: str) -> int:
        nonlocal computed
        computed += 1
        return len(text)

    assert [size("x" * 2000), size("x" * 2000), computed] == [2000, 2000, 2]
    for number in range(100):
        size(str(number))
    computed = 0
    for number in reversed(range(100)):
        size(str(number))
    assert computed == 100 - 1000 // 64
