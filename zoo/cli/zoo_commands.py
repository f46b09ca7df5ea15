"""``supernet zoo``: what was published. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from supernet.errors import StateError
from supernet.wording import counted
from zoo.cli.session import Session, in_session
from zoo.cli.typed import Entry, MaxLatency, MaxParams, RunFolder, StoreAt

zoo_app = typer.Typer(help="Published subnets: list, pull, try out, verify.", no_args_is_help=True)


@zoo_app.command("list")
@in_session
def list_(
    session: Session,
    run: RunFolder = None,
    store: StoreAt = None,
    device: Annotated[
        str | None, typer.Option(help="Only what was measured on this device (id or name).")
    ] = None,
    max_latency_ms: MaxLatency = None,
) -> None:
    """What a zoo holds."""
    from zoo.cli import documents
    from zoo.cli.printing import entry_rows, limits, within
    from zoo.store.pull import manifests

    source = session.store(run, store)
    entries = within(manifests(source), device, max_latency_ms)
    said = f" with {limits({'': max_latency_ms}, None)}" if max_latency_ms is not None else ""
    session.narrator.table(
        f"{source.address}: {counted(len(entries), 'entry', 'entries')}{said}", entry_rows(entries, device)
    )
    session.result({"store": source.address, "entries": [documents.manifest(entry) for entry in entries]})


@zoo_app.command()
@in_session
def pull(
    session: Session,
    entry: Annotated[
        str | None, typer.Argument(help="Id of an entry; the best one within the limits otherwise.")
    ] = None,
    run: RunFolder = None,
    store: StoreAt = None,
    into: Annotated[str | None, typer.Option(help="Folder to put the files in; the cache otherwise.")] = None,
    device: Annotated[str | None, typer.Option(help="Id or name of the device the limit is about.")] = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
) -> None:
    """Fetch an entry by its id, or the most accurate one within limits; every hash is checked."""
    from zoo.cli import documents
    from zoo.pipeline.run import folder_named
    from zoo.store.load import load_onnx
    from zoo.store.pull import best, manifests, pull as fetch

    folder = None if into is None else folder_named(into, "--into")
    source, narrator = session.store(run, store), session.narrator
    if entry is None:
        known = manifests(source)
        entry = best(known, device=device, max_latency_ms=max_latency_ms, max_params=max_params).id
    with narrator.progress() as progress:
        pulled = fetch(source, entry, into=folder, progress=partial(progress, "pulling"))
    load_onnx(pulled)
    narrator.say(
        f"{pulled.manifest.id}: {counted(len(pulled.files), 'file')} in {pulled.folder}, every hash checked."
    )
    narrator.say(f"ONNX Runtime opens {pulled.path('.onnx')}.")
    session.result(documents.pulled(pulled))


@zoo_app.command()
@in_session
def verify(session: Session, run: RunFolder = None, store: StoreAt = None) -> None:
    """Read every byte of a zoo and compare it with what was published."""
    from zoo.store.verify import verify as check

    found, narrator = check(session.store(run, store)), session.narrator
    session.result({"verified": found})
    for damage in found.damaged:
        narrator.say(str(damage))
    if found.damaged:
        raise StateError(
            f"damaged, missing or not listed: {counted(len(found.damaged), 'file')}, named above; "
            "publish or copy the entries anew"
        )
    narrator.say(
        f"{counted(found.entries, 'entry', 'entries')}, {counted(found.files, 'file')}, {found.bytes:,} bytes: "
        "every byte is as the index says."
    )
    narrator.say(
        f"Not to be known without a signature: {found.unseen}. "
        f"Compare with the publisher's: sha256 of index.json {found.index_sha256}"
    )


@zoo_app.command()
@in_session
def demo(
    session: Session,
    entry: Entry,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    run: RunFolder = None,
    store: StoreAt = None,
) -> None:
    """What a published network sees on your images."""
    from zoo.cli.images import demo as see, entry_or_folder

    pulled = entry_or_folder(entry, lambda: session.store(run, store))
    seen = see(pulled, images, session.narrator)
    session.result({"entry": pulled.manifest.id, "images": [{"path": p, "sees": s} for p, s in seen]})


@zoo_app.command()
@in_session
def evaluate(
    session: Session,
    entry: Entry,
    data: Annotated[str, typer.Argument(help="folder:PATH; PATH holds CLASS/IMAGE, or test/CLASS/IMAGE.")],
    run: RunFolder = None,
    store: StoreAt = None,
) -> None:
    """How good a published network is on your labelled images, matched by the names of the classes."""
    from zoo.cli import documents
    from zoo.cli.images import entry_or_folder, evaluate as judge

    pulled = entry_or_folder(entry, lambda: session.store(run, store))
    found = judge(pulled, data, session.narrator)
    session.result(
        {
            "entry": pulled.manifest.id,
            "folder": found.folder,
            "here": documents.judged(found.result),
            "published": pulled.manifest.metrics,
            "notes": found.notes,
        }
    )


@zoo_app.command()
@in_session
def reindex(session: Session, run: RunFolder = None, store: StoreAt = None) -> None:
    """Write the index of a zoo in a folder anew, from the entries that are there."""
    from zoo.store import LocalStore

    source = session.store(run, store)
    if not isinstance(source, LocalStore):
        raise StateError(f"{source.address} can only be read; name the folder it is served from")
    entries = source.reindex().entries
    session.narrator.say(f"{source.address}: {counted(len(entries), 'entry', 'entries')} in its index.")
    session.result({"store": source.address, "entries": entries})
