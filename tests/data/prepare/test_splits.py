import hashlib
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catdog_pl.data.prepare.photo import Inspection, Photo, Verdict
from catdog_pl.data.prepare.photos import Photos
from catdog_pl.data.prepare.placement import safe_label, safe_name
from catdog_pl.data.prepare.splits import (
    SPLITS,
    WORKSHOP,
    Fractions,
    Group,
    Sizes,
    position,
    preferred,
    scaled,
    sensible_sizes,
    split_by_sizes,
    split_class,
    take_splits,
)
from tests.data.prepare.photographs import after

TENTHS = Fractions(0.8, 0.1, 0.1)


def photo(number: int, group: int | None = None) -> Photo:
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    found = Inspection(sha256=sha256)
    return Photo(f"{number}.jpg", label="cat", inspection=found, group=group)


def splits(photos: list[Photo]) -> dict[str, str | None]:
    return {photo.inspection.sha256: photo.split for photo in photos}


def split(photos: Iterable[Photo], amounts: Sizes | Fractions, earlier: Mapping[str, str]) -> list[Photo]:
    def step(table: Photos) -> None:
        take_splits(table, earlier.items())
        split_class(table, "cat", amounts, 2018)

    return after(step, photos)


def assigned(
    numbers: range, amounts: Sizes | Fractions, earlier: dict[str, str] | None = None
) -> list[Photo]:
    return split(map(photo, numbers), amounts, earlier or {})


def count(photos: list[Photo]) -> tuple[int, ...]:
    return tuple(sum(photo.split == split for photo in photos) for split in SPLITS)


def test_the_position_is_the_same_for_ever() -> None:
    assert position("ab", 2018) == 0.4726760709660679
    assert position("ab", 2019) != position("ab", 2018)


@pytest.mark.slow
@given(st.text(), st.integers())
def test_the_position_lies_in_the_unit_interval(sha256: str, seed: int) -> None:
    assert 0 <= position(sha256, seed) < 1


def test_the_position_is_uniform() -> None:
    places = sorted(position(str(number), 2018) for number in range(20_000))
    distance = max(abs(place - index / 20_000) for index, place in enumerate(places))
    assert distance < 1.63 / 20_000**0.5  # Kolmogorov-Smirnov at 1 %


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (3100, (2000, 1000, 100)),
        (9999, (2000, 1000, 100)),
        (310, (200, 100, 10)),
        (31, (20, 10, 1)),
        (100, (65, 32, 3)),
        (10, (6, 3, 1)),
        (3, (1, 1, 1)),
    ],
)
def test_fewer_photographs_keep_the_proportions(available: int, expected: tuple[int, int, int]) -> None:
    assert scaled(WORKSHOP, available) == expected


@given(st.tuples(*[st.integers(0, 5000)] * 3).filter(any), st.integers(3, 20_000))
def test_scaled_sizes_use_all_that_there_is_and_leave_no_wanted_split_empty(
    wanted: tuple[int, int, int], available: int
) -> None:
    sizes = scaled(Sizes(*wanted), available)
    assert sum(sizes) == min(available, sum(wanted))
    assert all((size > 0) == (want > 0) for size, want in zip(sizes, wanted, strict=True))


@given(st.lists(st.floats(0, 1, exclude_max=True), unique=True, min_size=40, max_size=80), st.randoms())
def test_sizes_are_exact_and_do_not_depend_on_the_order(places: list[float], random: object) -> None:
    sizes = Sizes(20, 10, 5)
    groups = [Group(place) for place in places]
    chosen = dict(zip(places, split_by_sizes(groups, sizes), strict=True))
    assert tuple(list(chosen.values()).count(split) for split in SPLITS) == sizes
    random.shuffle(groups)  # type: ignore[attr-defined]
    assert chosen == {
        group.position: split for group, split in zip(groups, split_by_sizes(groups, sizes), strict=True)
    }


@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 4)), max_size=60))
def test_groups_are_never_torn_and_never_overfill_a_split(members: list[tuple[float, int]]) -> None:
    groups = [Group(place, size) for place, size in members]
    sizes = Sizes(20, 10, 5)
    filled = dict.fromkeys(SPLITS, 0)
    for group, split in zip(groups, split_by_sizes(groups, sizes), strict=True):
        if split:
            filled[split] += group.size
    assert all(filled[split] <= size for split, size in zip(SPLITS, sizes, strict=True))


@pytest.mark.parametrize(
    ("place", "split"), [(0.0, "test"), (0.05, "test"), (0.15, "validation"), (0.5, "train")]
)
def test_a_place_falls_into_the_slice_of_its_split(place: float, split: str) -> None:
    assert preferred(place, TENTHS) == split
    assert preferred(place, (8, 1, 1)) == split


def test_fractions_are_met_nearly() -> None:
    counts = count(assigned(range(10_000), TENTHS))
    assert sum(counts) == 10_000
    assert all(abs(count - share) < 120 for count, share in zip(counts, (8000, 1000, 1000), strict=True))


def test_with_fractions_a_photograph_keeps_its_split_whatever_is_added() -> None:
    few, many = splits(assigned(range(500), TENTHS)), splits(assigned(range(5000), TENTHS))
    assert few.items() <= many.items()


def test_with_fractions_a_new_look_alike_follows_the_one_that_was_there() -> None:
    old, new = photo(1, 7), photo(2, 7)
    for name in SPLITS:
        found = split([old, new], TENTHS, {old.inspection.sha256: name})
        assert [member.split for member in found] == [name, name]


def test_with_sizes_no_photograph_changes_its_split_when_more_than_enough_are_there() -> None:
    sizes = Sizes(100, 50, 20)
    few, many = splits(assigned(range(1000), sizes)), splits(assigned(range(2000), sizes))
    moved = [sha for sha, split in few.items() if split and many[sha] not in (split, None)]
    assert moved == []


def test_with_sizes_an_earlier_run_is_kept_exactly_when_photographs_are_added() -> None:
    first = splits(assigned(range(310), Sizes(200, 100, 10)))
    earlier = {sha: split for sha, split in first.items() if split}
    second = assigned(range(620), Sizes(400, 200, 20), earlier)
    assert count(second) == (400, 200, 20)
    assert earlier.items() <= splits(second).items()


def test_a_photograph_of_an_earlier_run_is_left_out_rather_than_moved() -> None:
    earlier = {photo(number).inspection.sha256: "train" for number in range(30)}
    photos = assigned(range(40), Sizes(20, 10, 5), earlier)
    assert {earlier_photo.split for earlier_photo in photos[:30]} == {"train", None}
    assert count(photos)[0] == 20


def test_photographs_that_look_alike_share_a_split() -> None:
    photos = [photo(number, number // 3 if number < 60 else None) for number in range(200)]
    photos = split(photos, Sizes(100, 60, 30), {})
    for start in range(0, 60, 3):
        assert len({member.split for member in photos[start : start + 3]}) == 1
    assert count(photos) == (100, 60, 30)


def test_a_photograph_that_looks_like_two_splits_tears_nothing_and_moves_nothing() -> None:
    family = [photo(1, 7), photo(2, 7), photo(3, 7)]
    earlier = {family[0].inspection.sha256: "train", family[1].inspection.sha256: "test"}
    family = split([*family, *(photo(number) for number in range(10, 60))], TENTHS, earlier)[:3]
    assert [member.split for member in family] == ["train", None, "train"]
    assert family[1].verdict is Verdict.DUPLICATE


def test_what_does_not_fit_says_that_it_is_not_needed() -> None:
    photos = assigned(range(10), Sizes(3, 2, 1))
    assert {member.verdict for member in photos if not member.split} == {Verdict.NOT_NEEDED}


@pytest.mark.parametrize(
    ("folder", "label"),
    [("..", "class"), (".hidden", "hidden"), ("CON", "con_"), ("a:b", "a_b"), ("_x", "x"), ("", "class")],
)
def test_a_class_never_has_a_name_that_a_system_cannot_hold(folder: str, label: str) -> None:
    assert safe_label(folder) == label


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("cat.0", "cat.0.jpg"),
        ("con", "_con.jpg"),
        ("aux.1", "_aux.1.jpg"),
        ("a/b\\c:d*e", "a_b_c_d_e.jpg"),
        ("  . ", "photo.jpg"),
        ("x" * 300, "x" * 100 + ".jpg"),
    ],
)
def test_a_file_never_has_a_name_that_a_system_cannot_hold(stem: str, name: str) -> None:
    assert safe_name(stem, ".jpg") == name


@pytest.mark.parametrize(
    ("available", "expected"),
    [(3, (1, 1, 1)), (10, (6, 2, 2)), (50, (27, 13, 10)), (500, (267, 133, 100)), (3099, (2000, 999, 100))],
)
def test_small_sets_give_the_test_a_fifth(available: int, expected: tuple[int, int, int]) -> None:
    assert sensible_sizes(available) == expected


def test_sensible_sizes_grow_with_the_set_and_use_all_of_it() -> None:
    sizes = [sensible_sizes(available) for available in range(3, 3100)]
    assert all(sum(size) == available for available, size in enumerate(sizes, 3))
    assert all(min(size) >= 1 for size in sizes)
    for split in range(3):
        column = [size[split] for size in sizes]
        assert column == sorted(column)
