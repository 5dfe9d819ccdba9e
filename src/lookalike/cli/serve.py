"""The command ``serve``: the page and the REST service over an index."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.find_index import is_begun, only_index, served_index
from lookalike.cli.options import IndexPath, Provider, option, takes
from lookalike.errors import UsageError

#: Seconds that one thread may keep the others waiting. They hand over to each other several times a request; Python's
#: default is ten times as long.
_SWITCH_INTERVAL = 0.0005


@dataclass(frozen=True)
class ServeOptions:
    """What ``lookalike serve`` takes."""

    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[PHOTOS]",
            help="An indexed folder or file, or its index. Default: the only index in this folder or in one above it.",
        ),
    ] = None
    index_path: IndexPath = None
    host: str = option("Address to listen on. Any but this machine's own requires a token.", default="127.0.0.1")
    port: int | None = option("Port to listen on. Default: 8321, or the next free one.")
    token: str | None = option(
        "Secret that each request must carry. Safer in the variable LOOKALIKE_TOKEN, which other users can't see."
    )
    host_name: list[str] | None = option("Accept requests for this host name, too. May be repeated.")
    origin: list[str] | None = option(
        "Allow cross-origin requests from this site: https://shop.example. May be repeated."
    )
    proxy: list[str] | None = option("Trust X-Forwarded-For from this proxy, such as 127.0.0.1. May be repeated.")
    prefix: str = option("Path prefix that a proxy leaves in place, such as /photos.", default="")
    allow_urls: bool = option("Fetch query images by URL, from public hosts only.", default=False)
    rate: float | None = option(
        "Searches per second for each client; 0 for no limit. Default: 20, and no limit for this machine.", min=0
    )
    certificate: Path | None = option("Serve over TLS with this PEM certificate.")
    key: Path | None = option("The certificate's private key, as PEM.")
    provider: Provider = None
    make: bool = option("Index it meanwhile, if it has no index yet.", default=False)
    open_page: bool = option("Open the page in the browser.", "--open/--no-open", default=False)

    def index(self) -> Path:
        """Return the index to serve."""
        if self.source is not None:
            return served_index(self.source, make=self.make)
        return only_index() if self.index_path is None else served_index(self.index_path)


@takes(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Serve an index as a web page and a REST service; Ctrl-C stops it."""
    from lookalike.server.address import is_local

    if (options.certificate is None) != (options.key is None):
        raise UsageError("--certificate and --key go together; give both or neither")
    if options.source is not None and options.index_path is not None:
        raise UsageError(
            f"{options.source} and --index {options.index_path} both name the index to serve; give one of the two"
        )
    local = is_local(options.host)

    def ready(address: str) -> None:
        with suppress(OSError):
            print(address, flush=True)
        _say("Ctrl-C stops it." if local else "Anybody who has this address can search and see the images.")
        if not local and options.certificate is None:
            _say(
                "The connection isn't encrypted: give --certificate and --key, or put a proxy with TLS before it "
                "(docs/serving.md)."
            )

    sys.setswitchinterval(_SWITCH_INTERVAL)  # of this process alone: `serve` of the library sets nothing
    path = options.index()
    with _indexed(options.source, path) if options.make and options.source is not None else nullcontext():
        _run(options, path, ready)


def _run(options: ServeOptions, path: Path, ready: Callable[[str], None]) -> None:
    from lookalike.server.serve import serve as run_server

    run_server(
        path,
        host=options.host,
        port=options.port,
        token=_token(options.token),
        host_names=options.host_name or (),
        origins=options.origin or (),
        proxies=options.proxy or (),
        prefix=options.prefix,
        allow_urls=options.allow_urls,
        rate=options.rate,
        tls=None if options.certificate is None or options.key is None else (options.certificate, options.key),
        on_ready=ready,
        on_open=_open_browser if options.open_page else None,
        on_note=lambda text: _say(f"{text}."),
    )


@contextmanager
def _indexed(source: str, path: Path) -> Iterator[None]:
    """Index a collection that has no index in a process of its own, which ends with this one."""
    if is_begun(path):
        yield
        return
    program = [sys.executable, "-m", "lookalike", "index", source, "--output", str(path)]
    indexing = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=2)
    try:
        while not is_begun(path) and indexing.poll() is None:
            time.sleep(0.05)
        if not is_begun(path):
            raise UsageError(
                f"{source}: nothing was indexed, so that there is nothing to serve; the lines above say why"
            )
        yield
    finally:
        indexing.terminate()
        indexing.wait()


def _say(text: str) -> None:
    with suppress(OSError):  # the reader of the output may have gone; the clients haven't
        print(text, file=sys.stderr, flush=True)


def _open_browser(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        _say("No browser could be opened; open the address above.")


def _token(given: str | None) -> str | None:
    """Return the token that was given; an empty one is refused, as it was meant to be something."""
    token = os.environ.get("LOOKALIKE_TOKEN") if given is None else given
    if token == "":
        where = "LOOKALIKE_TOKEN" if given is None else "--token"
        raise UsageError(f"{where} is empty; set at least 16 characters (openssl rand -hex 16), or leave it out")
    return token
