"""The command that opens the page: serve."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli import IndexPath, app, only_index
from lookalike.errors import UsageError


@app.command()
def serve(
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
    from lookalike import server

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key go together; give both or neither")
    local = server.is_local(host)

    def ready(address: str) -> None:
        print(address, flush=True)
        words = "Ctrl-C ends it." if local else "Whoever has this address can search and see the images."
        print(words, file=sys.stderr)
        if not local and certificate is None:
            print(
                "It goes over the network unencrypted: give --certificate and --key, or put a proxy with TLS before it "
                "(docs/serving.md).",
                file=sys.stderr,
            )
        if open_page:
            import webbrowser

            webbrowser.open(address)

    server.serve(
        index_path or only_index(),
        host=host,
        port=port,
        token=token or os.environ.get("LOOKALIKE_TOKEN") or None,
        host_names=host_name or (),
        origins=origin or (),
        allow_urls=allow_urls,
        rate=rate,
        tls=None if certificate is None or key is None else (certificate, key),
        on_ready=ready,
    )
