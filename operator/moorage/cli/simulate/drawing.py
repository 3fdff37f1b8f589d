"""Writes a scene as SVG, by itself, or as PNG, with Pillow."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorage.cli.errors import CliError, Exit
from moorage.cli.simulate.scene import Box, Label, Scene, Shape, Stroke
from moorage.cli.views.safe import safe

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_SHARPNESS: Final = 2
"""Pixels of a PNG for each unit of a scene."""
FORMATS: Final = (".svg", ".png")


def check_format(path: str) -> None:
    """Say at once, rather than after all the work, that a drawing cannot be written. Raises CliError."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise CliError(f"--plot {path} is neither .svg nor .png", Exit.USAGE, hint="write --plot out.svg")
    if suffix == ".png":
        _pillow()


def write(scene: Scene, path: str) -> None:
    """Write the drawing in the format that the name ends with. Raises CliError."""
    check_format(path)
    try:
        if Path(path).suffix.lower() == ".svg":
            Path(path).write_text(to_svg(scene), encoding="utf-8")
        else:
            _to_png(scene, path)
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror or error}") from None


def to_svg(scene: Scene) -> str:
    """A document of its own: no script, no style sheet, nothing fetched."""
    size = f'width="{scene.width}" height="{scene.height}" viewBox="0 0 {scene.width} {scene.height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    return "\n".join([head, *(_svg(shape) for shape in scene.shapes), "</svg>\n"])


def _svg(shape: Shape) -> str:
    match shape:
        case Box(x, y, width, height, colour):
            return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{colour}"/>'
        case Stroke(points, colour, width):
            path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
            return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        case Label(x, y, text, anchor, size, colour):
            where = f'x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" dominant-baseline="middle"'
            return f'<text {where} font-size="{size}" fill="{colour}">{escape(safe(text))}</text>'


def _pillow() -> Any:
    try:
        import PIL
    except ImportError:
        hint = "pip install 'moorage[plot]', or write --plot out.svg, which needs nothing"
        raise CliError("a PNG takes Pillow, which is not installed", hint=hint) from None
    return PIL


def _to_png(scene: Scene, path: str) -> None:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (scene.width * _SHARPNESS, scene.height * _SHARPNESS), "#ffffff")
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        _paint(canvas, shape)
    image.save(path, format="PNG", optimize=True)


def _paint(canvas: ImageDraw, shape: Shape) -> None:
    from PIL import ImageFont

    n = _SHARPNESS
    match shape:
        case Box(x, y, width, height, colour):
            canvas.rectangle((x * n, y * n, max(x, x + width - 1 / n) * n, (y + height) * n), fill=colour)
        case Stroke(points, colour, width):
            canvas.line([(x * n, y * n) for x, y in points], fill=colour, width=round(width * n))
        case Label(x, y, text, anchor, size, colour):
            side = {"start": "l", "middle": "m", "end": "r"}[anchor]
            font = ImageFont.load_default(size * n)
            canvas.text((x * n, y * n), safe(text), fill=colour, font=font, anchor=f"{side}m")
