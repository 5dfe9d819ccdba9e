"""The command that opens the page: serve."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from lookalike.cli.main import IndexPath, app, only_index
from lookalike.errors import UsageError


@app.command()
def serve(
    of: Annotated[
        str | None,
        typer.Argument(
            metavar="[PHOTOS]", help="A folder or file that was indexed, or its index. Default: the one index here."
        ),
    ] = None,
    index_path: IndexPath = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option("--port", help="Default: 8321, or the next that is free.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", help="What requests must bring; better in LOOKALIKE_TOKEN, which other users can't see."
        ),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option("--host-name", help="A further name that the server answers to. May be repeated."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", help="Another site whose pages may ask: https://shop.example. May be repeated."),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", help="A proxy whose X-Forwarded-For is believed, such as 127.0.0.1. May be repeated."),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Path that a proxy leaves before ours, such as /photos.")
    ] = "",
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch images by their web addresses, from public hosts only.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=0, help="Searches a second for each client; 0 for no bound. Default: 20 for others."
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Answer over TLS: a PEM certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The certificate's PEM key.")] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = False,
) -> None:
    """Open a page over an index, and the same as a REST service; Ctrl-C ends it."""
    from lookalike.server.address import is_local
    from lookalike.server.serve import serve as run_server

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key go together; give both or neither")
    if of is not None and index_path is not None:
        raise UsageError(f"{of} and --index {index_path} both say what to serve; give one of the two")
    local = is_local(host)

    def say(*words: str) -> None:
        with suppress(OSError):  # who read our output has gone, and who asks the server hasn't
            print(*words, file=sys.stderr, flush=True)

    def ready(address: str) -> None:
        with suppress(OSError):
            print(address, flush=True)
        say("Ctrl-C ends it." if local else "Whoever has this address can search and see the images.")
        if not local and certificate is None:
            say(
                "It goes over the network unencrypted: give --certificate and --key, or put a proxy with TLS before it "
                "(docs/serving.md)."
            )

    def open_(address: str) -> None:
        import webbrowser

        if not webbrowser.open(address):
            say("No browser could be opened; open the address above.")

    found = index_of(of) if of is not None else index_of(index_path) if index_path is not None else only_index()
    run_server(
        found,
        host=host,
        port=port,
        token=_token(token),
        host_names=host_name or (),
        origins=origin or (),
        proxies=proxy or (),
        prefix=prefix,
        allow_urls=allow_urls,
        rate=rate,
        tls=None if certificate is None or key is None else (certificate, key),
        on_ready=ready,
        on_open=open_ if open_page else None,
        on_note=lambda text: say(f"{text}."),
    )


def index_of(of: str | Path) -> Path:
    """Return the index that somebody means: the folder itself where it is one, else where that of a collection lies."""
    from lookalike.index.manifest import MANIFEST
    from lookalike.index.reopen import default_path
    from lookalike.index.run_status import LOCK

    path = Path(of)
    if any((path / name).is_file() for name in (MANIFEST, LOCK)):  # it may just be made
        return path
    made = default_path(str(of))
    if made.is_dir() or path.is_dir():
        if not made.is_dir():
            raise UsageError(f"{of}: has no index yet; make one with: lookalike index {quote(str(of))}")
        return made
    return path


def _token(given: str | None) -> str | None:
    """Return the token that was given; one that is empty was meant to be something."""
    token = os.environ.get("LOOKALIKE_TOKEN") if given is None else given
    if token == "":
        where = "LOOKALIKE_TOKEN" if given is None else "--token"
        raise UsageError(f"{where} is empty; set at least 16 characters (openssl rand -hex 16), or leave it out")
    return token
