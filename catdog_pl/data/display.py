"""Pictures as elements of a page, for what a notebook shows."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image


def picture_html(picture: Image.Image | npt.NDArray[np.uint8], height: int) -> str:
    """Return the element of a page that holds a picture, as a JPEG of at most so many pixels' height."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture = picture.convert("RGB")
    picture.thumbnail((10 * height, height))
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    content = b64encode(file.getvalue()).decode()
    # Pages have rules of their own for pictures, which would shrink or stretch these.
    return f'<img style="height: {height}px; max-width: none" src="data:image/jpeg;base64,{content}">'
