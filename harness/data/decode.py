"""Decode images (files, Parquet cells) from unknown sources into one array of RGB pixels, within limits."""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from harness.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageFile

# Raise it when the decoder gives other pixels than before: cached arrays are then built again.
VERSION = 3
# Pillow reads more formats; some start other programs (EPS), others are of no use here.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# A few kilobytes can claim to be gigabytes of pixels; 8,000 x 8,000 is more than any data set here needs.
MAX_PIXELS = 64_000_000
_BATCH = 256
_THREADS = 2
# Encoded images below this size are decoded by one thread: the interpreter lock costs more than a second one
# saves (a 32x32 PNG: 92 us against 62). Reading a file releases the lock.
_WORTH_THREADS = 16 * 1024

Item = tuple[str, "Path | bytes | Image.Image"]


def decode_all(
    items: Iterable[Item],
    count: int,
    image_size: int | None,
    *,
    bits: int | None = None,
    where: str,
    progress: bool,
) -> NDArray[np.uint8]:
    """Decode ``count`` images into one array, in order.

    Args:
        items: of each image its name for errors, and its file, encoded bytes or Pillow image; consumed a few
            at a time.
        image_size: see :func:`decode`; None demands that all images have one size.
        bits: see :func:`decode`; None demands that 16-bit images use most of their range.
        where: the folder or file the images come from, for errors.
        progress: whether to draw a bar, where stderr is a terminal.

    Returns:
        uint8, ``(count, H, W, 3)``.

    Raises:
        DataError: an image cannot be read, sizes differ and ``image_size`` is None, or all 16-bit images are
            in the lower half of their range and ``bits`` is None: 12 bits stored in 16 become 16 levels.
    """
    from harness.bar import count_up

    images: NDArray[np.uint8] | None = None
    first = ""
    done = peak = 0
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        count_up("decoding images", count, hidden=not progress) as advance,
    ):
        remaining = islice(items, count + 1)
        while batch := list(islice(remaining, _BATCH)):
            if done + len(batch) > count:
                raise DataError(f"{where}: more images than the {count} stated")
            names, sources = zip(*batch, strict=True)
            small = isinstance(sources[0], bytes) and len(sources[0]) < _WORTH_THREADS
            decoded = (map if small else pool.map)(_decode, names, sources, repeat(image_size), repeat(bits))
            for name, (image, largest) in zip(names, decoded, strict=True):
                if images is None:
                    first, images = name, _room_for(count, image.shape, where)
                if image.shape != images.shape[1:]:
                    raise DataError(
                        f"{where}: images differ in size ({first} is {_size(images[0])}, "
                        f"{name} is {_size(image)}): set data.image_size"
                    )
                images[done] = image
                done += 1
                peak = max(peak, largest)
            advance(len(batch))
    if images is None or done != count:
        raise DataError(f"{where}: {done} images, expected {max(count, 1)}")
    if bits is None and 0 < peak < 1 << 15:
        _ask_for_bits(peak, where)
    return images


def _ask_for_bits(peak: int, where: str) -> NoReturn:
    likely = next(bits for bits in (8, 10, 12, 14, 15) if peak < 1 << bits)
    raise DataError(
        f"{where}: no value in the 16-bit images is above {peak}: set data.bits = {likely}, the "
        "number of bits used (16 if all are used and the images are dark)"
    )


def decode(
    name: str, source: Path | bytes, image_size: int | None = None, bits: int | None = None
) -> NDArray[np.uint8]:
    """Return one image as RGB pixels, upright as its EXIF orientation says.

    Grayscale and palettes become RGB, 16 bits become 8, an alpha channel is dropped (as torchvision's loader
    does), an animation gives its first frame. With ``image_size`` the shorter side is resized to
    it, bilinear with antialiasing, and the centre square cropped, both in one step.

    Args:
        bits: how many of its 16 bits an image uses, from the lowest; None for all. A PGM or PPM file with a
            largest value of its own (maxval) goes by that, a file of 12 bits by them.

    Returns:
        uint8, ``(H, W, 3)``.

    Raises:
        DataError: not an image of a known format, damaged, more than ``MAX_PIXELS`` pixels, or a value that
            does not fit.
    """
    return _decode(name, source, image_size, bits)[0]


def _decode(
    name: str, source: Path | bytes | Image.Image, image_size: int | None, bits: int | None
) -> tuple[NDArray[np.uint8], int]:
    """Return the image, and its largest value where its 16 bits may not all be used (else 0)."""
    from PIL import Image

    if isinstance(source, Image.Image):
        image, peak = _rgb(source, name), 0
    else:
        image, peak = _open(name, source, bits)
    if image_size is not None:
        side = min(image.size)  # Pillow's box says what to compute; pixels around it still count at its edges
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image), peak


def _open(name: str, source: Path | bytes, bits: int | None) -> tuple[Image.Image, int]:
    """Read an image, upright and in RGB, and its largest value as :func:`_decode` returns it."""
    from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

    file = source if isinstance(source, Path) else io.BytesIO(source)
    try:
        with Image.open(file, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise DataError(
                    f"{name}: {_size(opened)} pixels; at most {MAX_PIXELS:,} are read, make it smaller"
                )
            image: Image.Image = opened
            peak, declared = 0, _known_bits(opened)
            if declared is not None:
                image, largest = _of_8_bits(opened, source, name, declared or bits or 16)
                peak = 0 if declared else largest
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1  # skips a copy
            image = _rgb(ImageOps.exif_transpose(image) if turned else image, name)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: not an image of a known format ({', '.join(FORMATS)}) or damaged: replace or remove it"
        ) from error
    except Exception as error:  # damaged files raise anything, from SyntaxError to struct.error
        cause = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be read as an image ({cause}): replace or remove it") from error
    return image, peak


def _known_bits(opened: ImageFile.ImageFile) -> int | None:
    """Return how many of 16 bits a file declares to use; 0 where it declares none, None for fewer bits."""
    if opened.format not in ("PNG", "TIFF", "PPM") or opened.mode == "CMYK":
        return None
    codec: str = opened.tile[0][0]
    arguments: Any = opened.tile[0][3]
    layout = arguments if isinstance(arguments, str) else arguments[0]
    if codec.startswith("ppm"):  # Pillow scales by the maxval
        if opened.mode == "I":
            return 0 if arguments[1] == 65535 else 16
        return 0 if (codec, arguments) == ("ppm", ("RGB", 65535)) else None
    if layout == "I;12":
        return 12
    return 0 if ";16" in layout else None


def _of_8_bits(opened: Image.Image, source: Path | bytes, name: str, bits: int) -> tuple[Image.Image, int]:
    """Scale an image of 16 bits a channel to 8 bits; return it, and its largest value before that."""
    from PIL import ExifTags, Image

    turned = opened.getexif().get(ExifTags.Base.Orientation, 1)
    opened.load()
    if opened.mode in ("RGB", "RGBA"):  # Pillow has dropped the lower bytes
        values = _deep_colours(source)
    else:
        values = np.asarray(opened)
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1)  # a TIFF is turned already
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise DataError(f"{name}: negative values, down to {low}: save it with values of at least 0")
    if high >> bits:
        raise DataError(
            f"{name}: the value {high} needs {high.bit_length()} bits: set data.bits above {bits}"
        )
    image = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    image.getexif()[ExifTags.Base.Orientation] = turned
    return image, high


def _deep_colours(source: Path | bytes) -> NDArray[np.uint16]:
    import cv2

    log = cv2.utils.logging
    log.setLogLevel(log.LOG_LEVEL_SILENT)  # Pillow also warns of harmless oddities
    encoded = source.read_bytes() if isinstance(source, Path) else source
    values = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(values, dtype=np.uint16)[..., 2::-1]


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F"):
        raise DataError(f"{name}: 32-bit pixels have no fixed range: save it with 8 bits a channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _room_for(count: int, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    try:
        return np.empty((count, *shape), dtype=np.uint8)
    except MemoryError as error:
        gigabytes = count * int(np.prod(shape)) / 1e9
        raise DataError(
            f"{where}: {count:,} images of {shape[1]}x{shape[0]} pixels need {gigabytes:,.0f} GB of memory: "
            "set a smaller data.image_size"
        ) from error


def _size(image: NDArray[np.uint8] | Image.Image) -> str:
    width, height = image.shape[1::-1] if isinstance(image, np.ndarray) else image.size
    return f"{width}x{height}"
