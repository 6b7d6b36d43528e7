"""What is around the animal, and the camera: the same for all species."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from catdog_pl.data.sample.pencil import CIRCLE, Colour, blend, curve, pick

WHITE: Colour = (255, 255, 255)
SKY, GRASS, LEAVES, BARK = (150, 196, 232), (112, 166, 80), (70, 110, 60), (116, 88, 66)


def draw_scene(size: tuple[int, int], ground: float, rng: np.random.Generator) -> Image.Image:
    """Return an RGB background, out of focus; floor or grass begin at y = `ground`, and all is in pixels."""
    first = sample_colour(rng)
    scene = _fade(size, first, blend(first, sample_colour(rng), rng.uniform(0.0, 0.9)), rng)
    if rng.random() < 0.67:  # or else it stays an empty wall
        pick((room, room, meadow, clutter), rng)(scene, ground, rng)
    return scene.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.0 + 0.01 * min(size))))


def room(scene: Image.Image, ground: float, rng: np.random.Generator) -> None:
    """Paint a wall, perhaps with stripes and pictures, a floor, perhaps a rug and a chest."""
    draw, wall, (width, height) = ImageDraw.Draw(scene), sample_colour(rng), scene.size
    draw.rectangle((0, 0, width, ground), fill=wall)
    stripe = max(4, int(width * rng.uniform(0.05, 0.15)))
    for edge in range(0, width, 2 * stripe) if rng.random() < 0.5 else ():
        draw.rectangle((edge, 0, edge + stripe, ground), fill=blend(wall, WHITE, 0.15))
    for x, y, w, h in rng.uniform((-0.1, 0, 0.15, 0.15), (0.8, 0.4, 0.4, 0.4), (int(rng.integers(3)), 4)):
        frame = (x * width, y * height, (x + w) * width, (y + h) * height)
        draw.rectangle(frame, fill=sample_colour(rng), outline=sample_colour(rng), width=max(2, width // 60))
    draw.rectangle((0, ground, width, height), fill=sample_colour(rng))
    draw.rectangle((0, ground - height / 40, width, ground), fill=blend(wall, WHITE, 0.6))
    if rng.random() < 0.6:
        x, y = rng.uniform(-0.3, 0.3) * width, ground + 0.02 * height
        draw.ellipse((x, y, x + width, max(1.1 * height, y + 0.08 * height)), fill=sample_colour(rng))
    if rng.random() < 0.4:
        x, y = rng.uniform(-0.2, 0.7) * width, ground - rng.uniform(0.2, 0.45) * height
        chest = (x, y, x + 0.5 * width, ground + 0.1 * height)
        draw.rounded_rectangle(chest, radius=width // 20, fill=sample_colour(rng))


def meadow(scene: Image.Image, ground: float, rng: np.random.Generator) -> None:
    """Paint a sky, hills, perhaps trees, and grass with blades."""
    (width, height), draw = scene.size, ImageDraw.Draw(scene)
    sky = blend(SKY, sample_colour(rng), rng.uniform(0.0, 0.5))
    grass = blend(GRASS, sample_colour(rng), rng.uniform(0.0, 0.35))
    scene.paste(_fade(scene.size, blend(sky, WHITE, 0.5), sky, rng))
    for x, r in rng.uniform((0, 0.2), (1, 0.5), (int(rng.integers(1, 4)), 2)) * width:
        draw.ellipse((x - r, ground - r / 2, x + r, ground + r), fill=blend(grass, sky, rng.uniform(0, 0.6)))
    for x, r in rng.uniform((0, 0.06), (1, 0.16), (int(rng.integers(3)), 2)) * width:
        draw.rectangle((x - 0.2 * r, ground - 2 * r, x + 0.2 * r, ground + r), fill=BARK)
        draw.ellipse((x - r, ground - 3 * r, x + r, ground - 1.2 * r), fill=blend(grass, LEAVES, 0.6))
    draw.rectangle((0, ground, width, height), fill=grass)
    for x, depth, tall, bend in rng.uniform((0, 0, 0.01, -0.4), (1, 1, 0.04, 0.4), (60, 4)):
        x, y, tall = x * width, ground + depth * (height - ground), tall * height
        blade = blend(grass, sample_colour(rng), 0.4)
        draw.line((x, y, x + bend * tall, y - tall), fill=blade, width=max(1, width // 150))


def clutter(scene: Image.Image, ground: float, rng: np.random.Generator) -> None:
    """Strew the scene with blobs and sticks."""
    draw = ImageDraw.Draw(scene)
    for _ in range(int(rng.integers(8, 20))):
        place, r = rng.random(2) * scene.size, rng.uniform(0.04, 0.2) * min(scene.size)
        if rng.random() < 0.7:
            blob = curve(place + r * rng.uniform(0.3, 1.2, (6, 1)) * CIRCLE[::6])
            draw.polygon(blob.ravel().tolist(), fill=sample_colour(rng))
        else:
            end = place + 3 * r * rng.uniform(-1, 1, 2)
            draw.line((*place, *end), fill=sample_colour(rng), width=max(2, int(r / 4)))


def _fade(size: tuple[int, int], first: Colour, second: Colour, rng: np.random.Generator) -> Image.Image:
    ramp = Image.linear_gradient("L").rotate(90 * int(rng.integers(4)))
    ramp = pick((ramp, Image.radial_gradient("L")), rng).resize(size)
    return Image.composite(Image.new("RGB", size, first), Image.new("RGB", size, second), ramp)


def sample_colour(rng: np.random.Generator) -> Colour:
    """Return a colour of paint, cloth or wall: neither very dark nor glaring."""
    red, green, blue = rng.integers(111, 224, 3).tolist()
    return red, green, blue


def photograph(drawing: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return what a middling camera makes of a drawing: focus, uneven light, exposure, warmth and noise."""
    pixels = np.asarray(drawing.filter(ImageFilter.BoxBlur(rng.uniform(0.0, 0.8))), dtype=np.float32)
    height, width = pixels.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)  # where the lamp is, and its contrast
    across = np.linspace(-1, 1, width) * strength * np.cos(angle)
    down = np.linspace(-1, 1, height) * strength * np.sin(angle)
    lamp = (1 + across + down[:, None]).astype(np.float32)
    colour = rng.uniform(0.8, 1.15) * np.array((rng.uniform(0.93, 1.07), 1.0, rng.uniform(0.93, 1.07)))
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(0, 5))
    pixels = pixels * lamp[:, :, None] * colour.astype(np.float32) + noise[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
