"""Run commands in a network of their own, in which each address is this machine, and tell what they tried to reach.

    unshare --net --mount python tests/alone.py FOUND COMMAND ...

There every name is looked up at a resolver of ours, that knows none, and every address leads to the loopback device, where
all is read. ``FOUND`` becomes a JSON list of names that were asked for, and of addresses beyond this machine's own.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

ALL_PACKETS = 0x0003
LAST = "192.0.2.1"  # an address for documentation


def answer(resolver, seen):
    """Note what is asked for, and answer that there is no such name."""
    while True:
        question, client = resolver.recvfrom(2000)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode("latin-1"))
            at += question[at] + 1
        seen.add(f"name {'.'.join(labels)}")
        resolver.sendto(question[:2] + b"\x81\x83" + question[4:6] + bytes(6) + question[12:], client)


def listen(wire, seen):
    """Note each address that isn't this machine's own, whatever the protocol."""
    while True:
        packet, where = wire.recvfrom(65536)
        if where[1] == 0x0800:
            to = ipaddress.ip_address(packet[16:20])
        elif where[1] == 0x86DD:
            to = ipaddress.ip_address(packet[24:40])
        else:
            continue
        if not (to.is_loopback or to.is_multicast or to.is_link_local):
            seen.add(f"address {to}")


def main(found, *command):
    """Prepare the network, run the command, write what was seen."""
    for words in ("link set lo up", "route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo"):
        subprocess.run(["ip", *words.split()], check=not words.startswith("-6"), capture_output=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write("nameserver 127.0.0.1\n")
        config.flush()
        subprocess.run(["mount", "--bind", config.name, os.path.realpath("/etc/resolv.conf")], check=True)
        seen = set()
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind(("127.0.0.1", 53))
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PACKETS))
        wire.bind(("lo", 0))
        for work, where in ((answer, resolver), (listen, wire)):
            threading.Thread(target=work, args=(where, seen), daemon=True).start()
        code = subprocess.run(command, check=False).returncode
        # What was sent before is read before: this is the last, and it is waited for.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (LAST, 9))
        while f"address {LAST}" not in seen:
            threading.Event().wait(0.01)
    with open(found, "w", encoding="utf-8") as f:
        json.dump(sorted(set(seen) - {f"address {LAST}"}), f)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
