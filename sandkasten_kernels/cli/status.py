"""``sandkasten-kernels pool`` and ``events``: what is kept warm, and what has happened."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..client import Event, SyncSandboxClient
from .base import ClientApp, print_json, print_table

__all__ = ["EventsApp", "PoolApp"]


class PoolApp(ClientApp):
    """Shows what the pool keeps warm, for each kernelspec."""

    name = "sandkasten-kernels pool"
    description = __doc__ or ""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for a program")

    def run(self, client: SyncSandboxClient) -> int:
        pools = client.pool()
        if self.options.json:
            print_json(pools)
            return 0
        heads = ("KERNELSPEC", "IMAGE", "WARM", "STARTING", "IN USE", "FOUND WARM", "NOT WARM")
        rows = (
            (one.kernelspec, one.image, f"{one.warm} of {one.target}", one.starting, one.claimed, one.hits, one.misses)
            for one in pools
        )
        print_table(heads, rows)
        return 0


class EventsApp(ClientApp):
    """Shows what has happened to the sessions, oldest first."""

    name = "sandkasten-kernels events"
    description = __doc__ or ""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("-f", "--follow", action="store_true", help="and then what happens, as it does")
        parser.add_argument("--since", metavar="ID", type=int, help="what came after this event")
        parser.add_argument(
            "-n", "--limit", metavar="N", type=int, default=100, help="how many at most, 100 if not said"
        )
        parser.add_argument("--json", action="store_true", help="one object in each line, for a program")

    def run(self, client: SyncSandboxClient) -> int:
        since, limit = self.options.since, self.options.limit
        follow = self.options.follow
        for event in (
            client.follow_events(since=since, limit=limit) if follow else client.events(since=since, limit=limit)
        ):
            self._print(event)
        return 0

    def _print(self, event: Event) -> None:
        if self.options.json:
            print(json.dumps(dataclasses.asdict(event)), flush=True)
            return
        words = f"{event.time[:19].replace('T', ' ')}  {event.kind:<12}  {event.session_id[:8]:<8}  {event.reason}"
        print("".join(c if c.isprintable() else "?" for c in words.rstrip()), flush=True)
