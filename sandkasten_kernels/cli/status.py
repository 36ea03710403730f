"""``sandkasten-kernels pool`` and ``events``: the warm kernels, and the log of events."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..client import Event, SyncSandboxClient
from .base import ClientCommand
from .output import print_json, print_table, printable

__all__ = ["EventsCommand", "PoolCommand"]


class PoolCommand(ClientCommand):
    """Shows the number of warm kernels of each kernelspec, and how many claims found one."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        pools = client.pool()
        if options.json:
            print_json(pools)
            return 0
        heads = ("KERNELSPEC", "IMAGE", "WARM", "STARTING", "IN USE", "FOUND WARM", "NOT WARM")
        rows = (
            (one.kernelspec, one.image, f"{one.warm} of {one.target}", one.starting, one.claimed, one.hits, one.misses)
            for one in pools
        )
        print_table(heads, rows)
        return 0


class EventsCommand(ClientCommand):
    """Shows the events of sessions and sandboxes, oldest first."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("-f", "--follow", action="store_true", help="go on with new events, until Ctrl-C")
        parser.add_argument("--since", metavar="ID", type=int, help="only events after the one with this id")
        parser.add_argument(
            "-n", "--limit", metavar="N", type=int, default=100, help="number of past events at most (default: 100)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object a line, for programs")

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        events = client.follow_events if options.follow else client.events
        for event in events(since=options.since, limit=options.limit):
            if options.json:
                print(json.dumps(dataclasses.asdict(event)), flush=True)
            else:
                print(_line(event), flush=True)
        return 0


def _line(event: Event) -> str:
    time = event.time[:19].replace("T", " ")
    return printable(f"{time}  {event.kind:<12}  {event.session_id[:8]:<8}  {event.reason}".rstrip())
