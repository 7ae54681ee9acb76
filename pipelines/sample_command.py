"""``sample``: draws from a generator, wherever it is, into a grid, single pictures or an animation."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from gan_components.errors import InputError
from pipelines import terminal
from pipelines.options import Json, Root, workspace_at
from pipelines.sample_wishes import Wanted, in_rows, integers, numbers, refuse_too_many

if TYPE_CHECKING:
    import numpy as np

    from gan_components.export.client import Client

app = typer.Typer()

Kind = Literal["grid", "files", "gif", "mp4"]

_SUFFIXES: dict[str, Kind] = {".png": "grid", ".gif": "gif", ".mp4": "mp4", "": "files"}
# Pictures that are held at once on their way into single files.
_BATCH_SIZE = 256
_FRAMES = 16
# From 16x16 pixels on: shape from the one, its drawing from the other.
_STYLE_LAYER = 4


@app.command(
    epilog="Example: gan-pipelines sample models:/digits@champion --labels 0:10 --seeds 0:100. "
    "Example: gan-pipelines sample grpc://localhost:8500/digits --labels 7 --out walk.gif"
)
def sample(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A generator's SavedModel; models:/NAME@ALIAS or models:/NAME/VERSION; or a model of TF Serving: "
            "http://HOST:8501/NAME or grpc://HOST:8500/NAME (https, grpcs: encrypted), with /versions/N or "
            "/labels/LABEL behind it if wanted.",
        ),
    ],
    seeds: Annotated[
        str | None, typer.Option(show_default="0:64; of an animation 0:8", help="Such as 7 or 0:64 or 1,5,9.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            show_default="drawn from the seeds",
            help="Classes, written as seeds are; given to the seeds in turn. An animation shows them beside one "
            "another.",
        ),
    ] = None,
    truncation: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="psi, such as 0.7; of several, such as 0,0.5,1, each fills a row."),
    ] = None,
    style_seeds: Annotated[
        str | None,
        typer.Option(help="Seeds whose style each image takes in its later layers, as --seeds; each fills a row."),
    ] = None,
    style_layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default=str(_STYLE_LAYER),
            help="The first layer with the other style; two a resolution, 4x4 first.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.png: a grid. FILE.gif, FILE.mp4: a walk through the seeds' latents. A directory: single "
            "PNG files, named by seed, label, truncation and style."
        ),
    ] = Path("samples.png"),
    frames: Annotated[
        int | None,
        typer.Option(min=1, max=1000, show_default=str(_FRAMES), help="Of an animation, from seed to seed."),
    ] = None,
    scale: Annotated[int, typer.Option(min=1, max=64, help="Side of a pixel in pixels.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer of a server.")] = 60.0,
    retries: Annotated[
        int, typer.Option(min=0, max=10, help="Further tries, where a server was not there, busy or too slow.")
    ] = 4,
    root: Root = Path("gan-runs"),
    as_json: Json = False,
) -> None:
    """Draw images. The same seed gives the same image, wherever the model is."""
    with terminal.edge(as_json=as_json) as document:
        kind = _kind(out)
        animated = kind in ("gif", "mp4")
        chosen = integers(seeds or ("0:8" if animated else "0:64"), "--seeds")
        classes = None if labels is None else integers(labels, "--labels")
        psis = None if truncation is None else numbers(truncation)
        styles = None if style_seeds is None else integers(style_seeds, "--style-seeds")
        if style_layer is not None and not styles:
            raise InputError("--style-layer says from where on --style-seeds count; give these, too")
        if styles and psis:
            raise InputError(
                "a model truncates or mixes, not both at once; leave --truncation or --style-seeds out"
            )
        _check(kind, out, animated=animated, changed=bool(psis or styles), frames=frames)
        tracking_uri = None
        if model.startswith("models:/"):
            workspace = workspace_at(root, None)
            workspace.require_registry()
            tracking_uri = workspace.tracking_uri
        if not logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
            # Who samples needs no root, where they could be kept.
            terminal.native_notes_to(Path(os.devnull))
        from gan_components.export import client

        with client.connect(
            model, tracking_uri=tracking_uri, timeout_seconds=timeout, num_retries=retries
        ) as source:
            if animated:
                count = _animate(source, kind, out, chosen, classes, frames or _FRAMES, scale)
            else:
                layer = _STYLE_LAYER if style_layer is None else style_layer
                wanted, columns = in_rows(chosen, classes, psis, [(seed, layer) for seed in styles or []])
                count = len(wanted)
                if kind == "grid":
                    _lay_out(source, out, wanted, columns, scale)
                else:
                    _write_each(source, out, wanted, scale)
        document |= {"model": model, "out": str(out), "kind": kind, "images": count}
        if not as_json:
            what = "frames" if animated else "images"
            terminal.out.print(
                f"{escape(str(out))}  {count} {what} of {escape(model)}", highlight=False, soft_wrap=True
            )


def _kind(out: Path) -> Kind:
    if out.is_dir():
        return "files"
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{out} ends in {out.suffix!r}; expected .png, .gif, .mp4, or no ending for a directory")
    return _SUFFIXES[out.suffix.lower()]


def _check(kind: Kind, out: Path, *, animated: bool, changed: bool, frames: int | None) -> None:
    """What can be said before a model is asked."""
    if changed and animated:
        raise InputError(
            "a walk goes through `from_latents`, which knows no truncation and mixes no styles; choose a .png "
            "or a directory"
        )
    if frames is not None and not animated:
        raise InputError("--frames is for animations; let --out end in .gif or .mp4")
    if kind == "mp4":
        from gan_components.export import animation

        animation.require_mp4()
    place = out if kind == "files" else out.absolute().parent
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{place} cannot be made ({error.strerror}); choose another --out") from None


def _require_readable(client: "Client", count: int, scale: int) -> None:
    """Refuses a grid of so many pixels that this package itself would not read it."""
    from gan_components import pictures
    from gan_components.export import samples

    height, width = samples.image_size(client)
    if count * height * width * scale**2 > pictures.MAX_PIXELS:
        raise InputError(
            f"a grid of {count} images of {width} x {height} pixels, scale {scale}, is larger than "
            f"{pictures.MAX_PIXELS // 10**6} megapixels; ask for fewer, or give a directory as --out"
        )


def _draw(client: "Client", wanted: list[Wanted]) -> "np.ndarray":
    import numpy as np

    from gan_components.export import samples

    seeds = np.array([one.seed for one in wanted], np.int64)
    labels = None if wanted[0].label is None else np.array([one.label for one in wanted], np.int64)
    if wanted[0].style:
        style_seeds, style_layers = np.array([one.style for one in wanted], np.int64).T
        return samples.draw_mixed(client, seeds, style_seeds, style_layers, labels, terminal.Lines())
    if wanted[0].truncation is None:
        return samples.draw(client, seeds, labels, terminal.Lines())
    psi = np.array([one.truncation for one in wanted], np.float32)
    return samples.draw_truncated(client, seeds, psi, labels, terminal.Lines())


def _lay_out(client: "Client", out: Path, wanted: list[Wanted], columns: int, scale: int) -> None:
    from gan_components import images
    from gan_components.artifacts import write_atomically

    _require_readable(client, len(wanted), scale)
    write_atomically(out, images.png(images.grid(_draw(client, wanted), columns), scale=scale))


def _write_each(client: "Client", out: Path, wanted: list[Wanted], scale: int) -> None:
    from gan_components import images
    from gan_components.artifacts import write_atomically

    seed_digits = len(str(max(one.seed for one in wanted)))
    for start in range(0, len(wanted), _BATCH_SIZE):
        batch = wanted[start : start + _BATCH_SIZE]
        for one, image in zip(batch, _draw(client, batch), strict=True):
            write_atomically(out / one.file_name(seed_digits), images.png(image, scale=scale))


def _animate(
    client: "Client",
    kind: Kind,
    out: Path,
    seeds: list[int],
    labels: list[int] | None,
    num_frames: int,
    scale: int,
) -> int:
    import numpy as np

    from gan_components.artifacts import write_atomically
    from gan_components.export import animation, samples

    refuse_too_many(len(seeds) * num_frames * len(labels or [None]))
    _require_readable(client, len(labels or [None]), scale)
    classes = None if labels is None else np.array(labels, np.int64)
    frames: Iterator[np.ndarray] = samples.walk(
        client, np.array(seeds, np.int64), classes, num_frames=num_frames, progress=terminal.Lines()
    )
    encode = animation.gif if kind == "gif" else animation.mp4
    write_atomically(out, encode(frames, scale=scale))
    return len(seeds) * num_frames
