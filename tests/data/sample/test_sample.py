"""The built-in sample: the same everywhere, told apart by shape and by nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from catdog_pl.data.sample import SAMPLE_COUNTS, SPECIES, draw_picture, draw_sample
from catdog_pl.data.sample.animals import CAT, Animal, Species
from catdog_pl.data.sample.pencil import CIRCLE, Part, Pencil, Shape, curve, parts
from catdog_pl.data.sample.poses import POSES, Pose, draw_animal

PER_CLASS = 100
RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)

Table = NDArray[np.float64]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the built-in sample, to be read only."""
    folder = tmp_path_factory.mktemp("sample")
    draw_sample(folder, PER_CLASS)
    return folder


def pictures(folder: Path) -> list[tuple[Path, Image.Image]]:
    """The pictures in file order, so all cats before all dogs."""
    return [(path, Image.open(path)) for path in sorted(folder.glob("*.jpg"))]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_files_are_named_as_in_the_kaggle_archive(sample: Path) -> None:
    expected = {f"{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(PER_CLASS)}
    assert {path.name for path in sample.iterdir()} == expected


@pytest.mark.slow
def test_a_picture_depends_on_seed_kind_and_number_only(sample: Path, tmp_path: Path) -> None:
    draw_sample(tmp_path / "few", 3)
    few = contents(tmp_path / "few")
    assert len(few) == 6
    assert few == {name: content for name, content in contents(sample).items() if name in few}
    assert len(set(few.values())) == 6


@pytest.mark.slow
def test_another_seed_draws_other_animals(sample: Path, tmp_path: Path) -> None:
    draw_sample(tmp_path / "other", 3, seed=2019)
    for name, content in contents(tmp_path / "other").items():
        assert content != (sample / name).read_bytes()


def test_drawing_again_mends_a_sample_that_broke_off(tmp_path: Path) -> None:
    draw_sample(tmp_path, 2)
    whole = contents(tmp_path)
    (tmp_path / "dog.1.jpg").unlink()
    (tmp_path / "cat.0.jpg").write_bytes(whole["cat.0.jpg"][:100])
    draw_sample(tmp_path, 2)
    assert contents(tmp_path) == whole


def test_a_picture_is_drawn_from_its_generator_alone(sample: Path) -> None:
    for place, (name, species) in enumerate(SPECIES.items()):
        rng = np.random.Generator(np.random.PCG64([2018, place, 5]))
        drawn = np.asarray(draw_picture(species, rng), dtype=float)
        saved = np.asarray(Image.open(sample / f"{name}.5.jpg"), dtype=float)
        assert drawn.shape == saved.shape
        assert np.abs(drawn - saved).mean() < 8  # what JPEG loses


def test_the_bar_is_shown_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_sample(tmp_path, 1)
    assert capsys.readouterr() == ("", "")
    draw_sample(tmp_path, 1, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(OSError, match="taken"):
        draw_sample(tmp_path / "taken", 1)


def test_pictures_are_jpegs_of_many_sizes_and_small_files(sample: Path) -> None:
    sizes = []
    for path, picture in pictures(sample):
        assert (picture.format, picture.mode) == ("JPEG", "RGB")
        assert 120 <= min(picture.size) <= max(picture.size) <= 400
        assert path.stat().st_size < 60_000
        sizes.append(picture.size)
    aspects = [width / height for width, height in sizes]
    assert len(set(sizes)) > PER_CLASS
    assert min(aspects) < 0.8
    assert max(aspects) > 1.25


def test_the_whole_sample_is_small(sample: Path) -> None:
    mean = np.mean([path.stat().st_size for path in sample.iterdir()])
    assert mean * 2 * sum(SAMPLE_COUNTS.values()) < 20e6  # bytes


def appearance(picture: Image.Image, file_size: int) -> list[float]:
    """What could betray the kind without being shape: colours, brightness, contrast, sizes."""
    pixels = np.asarray(picture).reshape(-1, 3)
    histograms = [np.histogram(pixels[:, c], 8, (0, 256))[0] / len(pixels) for c in range(3)]
    width, height = picture.size
    sizes = [file_size, file_size / (width * height), width, height, width / height]
    return [*pixels.mean(axis=0), *pixels.std(axis=0), *np.concatenate(histograms), *sizes]


def edges(picture: Image.Image) -> Table:
    """Where strokes run in which direction: oriented gradients in 8 x 8 fields of a grey 64 x 64 picture."""
    grey = np.asarray(picture.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=float)
    down, across = np.gradient(grey)
    direction = ((np.arctan2(down, across) % np.pi) / np.pi * 8).astype(int) % 8
    strength = np.hypot(down, across)
    fields = [np.where(direction == d, strength, 0).reshape(8, 8, 8, 8).sum(axis=(1, 3)) for d in range(8)]
    strokes: Table = np.sqrt(np.concatenate(fields, axis=None))
    return strokes


def linear_accuracy(features: Table) -> float:
    """Cross-validated accuracy of a linear classifier; the first half of the rows are cats."""
    kinds = np.repeat([0, 1], len(features) // 2)
    classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10))
    return float(cross_val_score(classifier, features, kinds, cv=5).mean())


@pytest.mark.slow
def test_colour_and_size_do_not_tell_the_kinds_apart(sample: Path) -> None:
    features = [appearance(picture, path.stat().st_size) for path, picture in pictures(sample)]
    assert 0.40 < linear_accuracy(np.array(features)) < 0.60  # 200 pictures: a standard error of 0.035


@pytest.mark.slow
def test_a_difference_in_colour_would_be_noticed(sample: Path) -> None:
    features = []
    for path, picture in pictures(sample):
        warmth = 15 if path.name.startswith("dog") else 0
        warmer = Image.merge(
            "RGB", [picture.getchannel("R").point(lambda v, w=warmth: v + w), *picture.split()[1:]]
        )
        features.append(appearance(warmer, path.stat().st_size))
    assert linear_accuracy(np.array(features)) > 0.65


@pytest.mark.slow
def test_shape_tells_the_kinds_apart(sample: Path) -> None:
    assert linear_accuracy(np.array([edges(picture) for _, picture in pictures(sample)])) > 0.8


def traits(animal: Animal) -> dict[str, str]:
    """All that an animal has besides its species, and what its generator would give next."""
    known = {name: repr(value) for name, value in vars(animal).items() if name not in ("species", "rng")}
    return known | {"next": str(animal.rng.random())}


def test_species_share_coats_expressions_and_framing() -> None:
    for number in range(20):
        cat, dog = (Animal(species, np.random.default_rng(number)) for species in SPECIES.values())
        assert cat.species is not dog.species
        assert traits(cat) == traits(dog)
        assert {"pattern", "colours", "fluff", "turn", "lids"} <= set(traits(cat))
        sizes = {draw_picture(species, np.random.default_rng(number)).size for species in SPECIES.values()}
        assert len(sizes) == 1


@pytest.mark.parametrize("species", SPECIES.values(), ids=list(SPECIES))
@pytest.mark.parametrize("pose", POSES, ids=["portrait", "sitting", "sitting_side", "standing", "lying"])
def test_every_pose_shows_the_animal_in_its_place(pose: Pose, species: Species) -> None:
    left, top, right, bottom = pose.box
    unit = 0.4
    for number in range(10):
        paper = blank(int((right - left) * unit), int((bottom - top) * unit), scale=unit, x=-left, y=-top)
        draw_animal(paper, Animal(species, np.random.default_rng(number)), pose)
        drawn = (np.asarray(paper.picture) != WHITE).any(axis=2)
        assert 0.3 < drawn.mean() < 0.95


def test_patterns_colours_and_tufts_vary() -> None:
    animals = [Animal(CAT, np.random.default_rng(number)) for number in range(200)]
    assert {a.pattern for a in animals} == {"plain", "bib", "stripes", "patches", "points", "cape"}
    assert len({a.colours["fur"] for a in animals}) > 190
    assert {a.fluff > 0 for a in animals} == {True, False}
    assert {"collar" not in a.colours for a in animals} == {True, False}


def blank(width: int, height: int, *, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> Pencil:
    """A pencil over white paper, its (0, 0) lying (x, y) drawing units from the top left corner."""
    frame = np.array([[scale, 0, x * scale], [0, scale, y * scale], [0, 0, 1.0]])
    size = (width, height)
    return Pencil(Image.new("RGB", size, WHITE), Image.new("L", size), ink=BLACK, line=2.0, frame=frame)


def flat(*areas: Shape) -> Part:
    """A part that has an outline and no shade."""
    return Part("nose", list(areas), [])


def oval(x: float, y: float, rx: float, ry: float) -> Shape:
    return CIRCLE * (rx, ry) + (x, y)


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=2).sum())


def test_a_curve_passes_through_its_points() -> None:
    points = np.array([(0.0, 0.0), (3.0, 1.0), (2.0, 4.0), (-1.0, 2.0)])
    for closed in (True, False):
        line = curve(points, closed=closed)
        for point in points:
            assert np.hypot(*(line - point).T).min() < 1e-12


def test_a_table_gives_a_part_for_each_run_of_a_role() -> None:
    fur, ink, again = parts("""
        fur  oval   10,20 3,4
        fur  areas  5,0 9,0 7,4 | 20,0 30,0 25,9
        ink  lines  1,1 2,2 | 3,3 4,4
        fur  line   0,0 8,8""")
    assert [(part.role, len(part.areas), len(part.lines)) for part in (fur, ink, again)] == [
        ("fur", 5, 0),
        ("ink", 0, 4),
        ("fur", 0, 1),
    ]
    np.testing.assert_allclose([fur.areas[0].min(axis=0), fur.areas[0].max(axis=0)], [(7, 16), (13, 24)])
    np.testing.assert_array_equal(fur.areas[1] * (-1, 1), fur.areas[2])
    np.testing.assert_array_equal(ink.lines[0] * (-1, 1), ink.lines[1])


def test_halves_make_symmetric_shapes() -> None:
    [part] = parts("fur half 0.5,-1.0 1.0,0.0 0.4,1.0")
    [shape] = part.areas
    mirrored = shape * (-1, 1)
    assert all(np.hypot(*(shape - point).T).min() < 1e-12 for point in mirrored[::8])


@pytest.mark.parametrize("turned", [1, -1])
def test_an_outline_lies_around_a_circle_whichever_way_it_runs(turned: int) -> None:
    pencil = blank(100, 100)
    pencil.draw(flat(oval(50, 50, 20, 20)[::turned]), RED)
    rows, columns = (np.asarray(pencil.picture) == BLACK).all(axis=2).nonzero()
    radius = np.hypot(rows - 50, columns - 50)
    assert 19 <= radius.min() < radius.max() <= 24
    for x, y in ((50, 72), (50, 28), (72, 50), (28, 50)):
        assert pencil.picture.getpixel((x, y)) == BLACK


def test_tufts_only_stand_out() -> None:
    fluffy, smooth = (Animal(CAT, np.random.default_rng(0)) for _ in range(2))
    fluffy.fluff, smooth.fluff = 0.2, 0.0
    drawn = []
    for animal in (fluffy, smooth):
        pencil = blank(200, 200)
        animal.draw(pencil, Part("fur", [oval(100, 100, 50, 50)], []))
        drawn.append((np.asarray(pencil.picture) != WHITE).any(axis=2))
    rough, round_ = drawn
    assert not (round_ & ~rough).any()
    radius = np.hypot(*(np.argwhere(rough) - 100.0).T)
    assert 1.1 * 50 < radius.max() <= 1.2 * 50 + 4  # the outline stands out, too


def test_a_line_is_as_wide_as_told_and_never_thinner_than_an_outline() -> None:
    line = Part("ink", [], [curve(np.array([(20.0, 50.0), (50.0, 50.0), (80.0, 50.0)]), closed=False)])
    for width, expected in ((20.0, 20), (0.0, 2)):
        pencil = blank(100, 100)
        pencil.draw(line, RED, width=width)
        red = (np.asarray(pencil.picture) == RED).all(axis=2)
        assert red[:, 50].sum() == pytest.approx(expected, abs=1)
        assert red[50].sum() == pytest.approx(60, abs=2)


def test_the_tip_of_a_tail_is_round() -> None:
    animal = Animal(CAT, np.random.default_rng(0))
    pencil = blank(200, 300, x=150, y=200)
    animal.draw_tail(pencil, raised=True)
    highest = np.argwhere((np.asarray(pencil.picture) != WHITE).any(axis=2))[:, 0].min()
    end = 200 + CAT.tails[0].lines[True][-1, 1]
    radius = (CAT.tail + 200 * animal.fluff) / 2
    assert highest == pytest.approx(end - radius - pencil.line, abs=2)


def test_a_mark_stays_on_its_shape_and_ink_surrounds_it() -> None:
    pencil = blank(100, 100)
    square = np.array([(30.0, 30), (70, 30), (70, 70), (30, 70)])
    everywhere = (oval(50, 50, 200, 200), BLUE)
    pencil.draw(flat(square), RED, marks=[everywhere])
    assert count(pencil.picture, RED) == 0
    assert count(pencil.picture, BLUE) == pytest.approx(1600, rel=0.06)
    assert count(pencil.picture, BLACK) > 4 * 40


def test_shapes_filled_together_have_one_outline() -> None:
    joined, apart = blank(100, 100), blank(100, 100)
    left, right = oval(40, 50, 20, 20), oval(60, 50, 20, 20)
    joined.draw(flat(left, right), RED)
    apart.draw(flat(left), RED)
    apart.draw(flat(right), RED)
    assert joined.picture.getpixel((41, 50)) == RED
    assert count(joined.picture, BLACK) < count(apart.picture, BLACK)


def test_a_moved_pencil_turns_and_scales_its_part_and_a_mirrored_one_mirrors_it() -> None:
    pencil = blank(100, 100, scale=10)
    pencil.moved((5, 5), np.pi / 2).draw(flat(oval(2, 0, 0.4, 0.4)), RED)
    assert pencil.picture.getpixel((50, 70)) != WHITE  # right of the part has become below
    pencil.moved((5, 5), np.pi / 2).draw(flat(oval(0, 4, 0.4, 0.4)), RED)
    assert pencil.picture.getpixel((10, 50)) != WHITE  # and below has become left
    mirrored = replace(pencil, frame=pencil.frame * (-1, 1, 1))
    mirrored.moved((-5, 5)).draw(flat(oval(3, 0, 0.3, 0.3)), RED)
    assert pencil.picture.getpixel((20, 50)) != WHITE
    assert pencil.picture.getpixel((80, 50)) == WHITE


def test_what_lies_outside_the_picture_is_not_drawn() -> None:
    pencil = blank(20, 20)
    pencil.draw(flat(oval(200, 200, 5, 5)), RED)
    pencil.draw(flat(oval(-200, 10, 5, 5)), RED)
    assert count(pencil.picture, WHITE) == 400
