"""Pictures that are in memory already become sources of bytes, so that one decoder serves them all.

Images, arrays and tensors travel as uncompressed TIFF, which keeps every pixel of every mode.
"""

import sys
from functools import partial
from io import BytesIO
from threading import Lock
from typing import Any

from catdog_pl.errors import ImageError, UsageError
from catdog_pl.io.source import MAX_BYTES, ImageSource

_LOADING = Lock()


def memory_source(given: Any) -> ImageSource:
    """Return the source of bytes, a binary file object, a PIL image, a numpy array or a torch tensor."""
    if isinstance(given, bytes | bytearray | memoryview):
        return ImageSource(f"<{len(given)} bytes>", partial(bytes, given))
    if callable(getattr(given, "read", None)):
        name = getattr(given, "name", None)
        name = name if isinstance(name, str) else f"<{type(given).__name__}>"
        return ImageSource(name, partial(_read_stream, given, name))
    if _is(given, "PIL.Image", "Image"):
        name = getattr(given, "filename", "") or f"<image {given.width} x {given.height}>"
        return ImageSource(str(name), partial(_encode_image, given, str(name)))
    for module, kind, word in (("numpy", "ndarray", "array"), ("torch", "Tensor", "tensor")):
        if _is(given, module, kind):
            name = f"<{word} {tuple(given.shape)}>"
            return ImageSource(name, partial(_encode_array, given, name))
    raise UsageError(
        f"predict cannot read a {type(given).__name__}; give a path, a URL, bytes, a binary file, a PIL "
        "image, a numpy array (H, W, 3) or a torch tensor (3, H, W)"
    )


def _is(given: object, module: str, name: str) -> bool:
    """Return whether an object is of a class; where its module is not imported, there can be no object."""
    return module in sys.modules and isinstance(given, getattr(sys.modules[module], name))


def _read_stream(stream: Any, name: str) -> bytes:
    try:
        content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError(name, f"it cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise ImageError(name, "it is open as text; open it in binary mode, 'rb'")
    if not content:
        raise ImageError(name, "it is empty, or was read to its end before; call its seek(0)", "empty")
    return content


def _encode_image(image: Any, name: str) -> bytes:
    try:
        with _LOADING:  # two threads may have the same image, which is read from its file at the first use
            copy = image.copy()
        if copy.mode not in ("RGBA", "LA") and copy.has_transparency_data:
            copy = copy.convert("RGBA")  # TIFF has no transparent colour
        copy.info = {}
        stream = BytesIO()
        copy.save(stream, "TIFF")
    except Exception as error:  # Pillow raises a dozen types on damaged data
        raise ImageError(name, f"the image data is damaged: {error}") from error
    return stream.getvalue()


def _encode_array(given: Any, name: str) -> bytes:
    """Return an array (H, W), (H, W, 1|3|4) or a tensor (1|3|4, H, W), uint8, as a TIFF file."""
    from PIL import Image

    is_tensor = not _is(given, "numpy", "ndarray")
    kind = str(given.dtype).removeprefix("torch.")
    if kind != "uint8":
        advice = "multiply what is in 0..1 by 255, and convert" if kind.startswith("float") else "convert"
        raise ImageError(name, f"its values are {kind}; {advice} to uint8, 0..255", "not an image")
    shape = tuple(given.shape)
    channels = 1 if len(shape) == 2 else shape[0 if is_tensor else -1]
    if len(shape) not in ((3,) if is_tensor else (2, 3)) or channels not in (1, 3, 4) or 0 in shape:
        valid = "(3, H, W)" if is_tensor else "(H, W, 3) or (H, W)"
        raise ImageError(name, f"its shape is {shape}; give {valid}, several as a list", "not an image")
    array = given.detach().cpu().numpy().transpose(1, 2, 0) if is_tensor else given
    return _encode_image(Image.fromarray(array[..., 0] if array.ndim == 3 and channels == 1 else array), name)
