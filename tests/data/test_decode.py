"""Encoded images to RGB pixels."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.data.decode import decode, decode_all
from harness.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_grayscale_becomes_three_equal_channels_and_alpha_is_dropped() -> None:
    assert (decode("x", encoded(Image.fromarray(PIXELS))) == PIXELS).all()
    gray = PIXELS[..., 0]
    assert (decode("x", encoded(Image.fromarray(gray))) == gray[..., None]).all()
    alpha = np.dstack([PIXELS, np.full((6, 4), 3, np.uint8)])
    assert (decode("x", encoded(Image.fromarray(alpha))) == PIXELS).all()


@pytest.mark.parametrize("options", [{}, {"transparency": 0}])
def test_palette_becomes_its_colours(options: dict[str, Any]) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert decode("x", encoded(image, **options)).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    image = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert decode("x", encoded(image))[0, :, 0].tolist() == [0, 1, 128, 255]


DEEP = np.random.default_rng(1).integers(0, 1 << 16, (6, 4, 3)).astype(np.uint16)


def deep(pixels: Any, kind: str) -> bytes:
    """16 bits a channel as OpenCV writes them."""
    return bytes(cv2.imencode(kind, pixels if pixels.ndim == 2 else pixels[..., ::-1])[1].tobytes())


def netpbm(magic: str, largest: int, pixels: Any) -> bytes:
    header = f"{magic}\n{pixels.shape[1]} {pixels.shape[0]}\n{largest}\n".encode()
    if magic in ("P2", "P3"):
        return header + " ".join(map(str, pixels.ravel())).encode()
    return header + bytes(pixels.astype(">u2").tobytes())


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return b"".join(
        [struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(kind + content))]
    )


@pytest.mark.parametrize("bits", [None, 16, 14, 12, 10, 8])
@pytest.mark.parametrize(
    ("kind", "colours"), [("png", 3), ("tiff", 3), ("ppm", 3), ("png", 1), ("tiff", 1), ("pgm", 1)]
)
def test_the_highest_eight_of_the_bits_that_are_used_are_kept(
    kind: str, colours: int, bits: int | None
) -> None:
    values = (DEEP if colours == 3 else DEEP[..., 0]) >> (16 - (bits or 16))
    expected = values >> ((bits or 16) - 8)
    expected = expected if colours == 3 else expected[..., None]
    assert (decode("x", deep(values, f".{kind}"), bits=bits) == expected).all()


@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("largest", [300, 1023, 4095, 65535])
def test_a_portable_map_is_scaled_by_its_own_largest_value(magic: str, largest: int) -> None:
    values = (DEEP % (largest + 1.0)).astype(np.uint16)
    values = values[..., 0] if magic in ("P2", "P5") else values
    exact = values * (255 / largest)
    exact = exact if values.ndim == 3 else exact[..., None]
    assert abs(decode("x", netpbm(magic, largest, values)) - exact).max() < 1


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="^x: the value 4096 needs 13 bits: set data.bits above 12"):
        decode("x", deep(np.array([[4095, 4096]], np.uint16), ".png"), bits=12)
    signed = tiff(np.array([[-5, 7]], "<i2"), sample_format=2)
    with pytest.raises(DataError, match="^x: negative values, down to -5: save it with"):
        decode("x", signed)
    assert decode("x", tiff(np.array([[0, 4095]], "<i2"), sample_format=2), bits=12).max() == 255


def tiff(values: Any, sample_format: int) -> bytes:
    content: bytes = values.tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags |= {279: len(content), 339: sample_format}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    end = struct.pack("<H", len(tags)) + directory + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + end


@pytest.mark.parametrize(("peak", "bits"), [(200, 8), (1000, 10), (4095, 12), (9000, 14), (32767, 15)])
def test_sixteen_bits_that_are_not_all_used_ask_how_many_are(peak: int, bits: int) -> None:
    dark, darker = (("x", deep(np.full((4, 4), value, np.uint16), ".png")) for value in (peak, 1))
    with pytest.raises(DataError, match=f"^here: no value .* is above {peak}: set data.bits = {bits}, "):
        decode_all([darker, dark], 2, None, where="here", progress=False)
    for known in (bits, 16):
        images = decode_all([dark], 1, None, bits=known, where="here", progress=False)
        assert (images == peak >> (known - 8)).all()
    bright = ("x", deep(np.full((4, 4), 1 << 15, np.uint16), ".png"))
    assert decode_all([dark, bright], 2, None, where="here", progress=False).max() == 128


def test_sixteen_bits_of_colour_are_turned_as_eight_are() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = deep(DEEP, ".png")
    place = content.index(b"IDAT") - 4
    inserted = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    turned = content[:place] + inserted + content[place:]
    assert (decode("x", turned) == np.rot90(DEEP >> 8, k=-1)).all()


def test_exif_orientation_is_honoured() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown 90 degrees clockwise
    turned = decode("x", encoded(Image.fromarray(PIXELS), exif=exif))
    assert (turned == np.rot90(PIXELS, k=-1)).all()


@pytest.mark.parametrize("shape", [(8, 24, 3), (24, 8, 3)])
def test_image_size_resizes_the_shorter_side_and_crops_the_centre(shape: tuple[int, ...]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    whole = image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)
    left, top = (whole.width - 4) // 2, (whole.height - 4) // 2
    expected = np.asarray(whole.crop((left, top, left + 4, top + 4)))
    assert (decode("x", encoded(image), image_size=4) == expected).all()


def test_extreme_shape_needs_no_more_memory_than_its_own_pixels() -> None:
    ribbon = encoded(Image.new("L", (200_000, 2), 9))
    assert (decode("x", ribbon, image_size=224) == 9).all()  # resized as a whole it would be 22,400,000 wide


def test_damaged_image_is_refused_by_name() -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    for damaged in (content[: len(content) // 2], b"no image", b""):
        with pytest.raises(DataError, match="^broken.png: ") as error:
            decode("broken.png", damaged)
        assert "\n" not in str(error.value)
        assert "0x" not in str(error.value)


def test_postscript_is_not_even_opened() -> None:
    with pytest.raises(DataError, match="not an image of a known format"):
        decode("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("side", [8001, 60_000])
def test_image_that_claims_absurd_sizes_is_refused(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"0")), chunk(b"IEND", b"")]
    bomb = b"".join([b"\x89PNG\r\n\x1a\n", *chunks])
    with pytest.raises(DataError, match="bomb.png: .*(at most 64,000,000|exceeds limit)"):
        decode("bomb.png", bomb)


def test_images_come_in_order_from_files_and_bytes_with_threads_and_without(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (300, 80, 80, 3), dtype=np.uint8)
    contents = [encoded(Image.fromarray(image)) for image in noise]
    files = [tmp_path / f"{index}.png" for index in range(len(noise))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    for sources in (files, contents):
        items: list[Any] = [(str(index), source) for index, source in enumerate(sources)]
        assert (decode_all(items, len(noise), None, where="here", progress=False) == noise).all()


def test_more_or_fewer_images_than_announced_are_refused() -> None:
    item = ("x", encoded(Image.fromarray(PIXELS)))
    for count in (1, 3):
        with pytest.raises(DataError, match="^here: "):
            decode_all([item, item], count, None, where="here", progress=False)
    with pytest.raises(DataError, match="^here: 0 images"):
        decode_all([], 0, None, where="here", progress=False)
