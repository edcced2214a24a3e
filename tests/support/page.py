"""The metrics page of a daemon, read as Prometheus reads it."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families
from support.daemon import Daemon

Page = Mapping[str, float]


def read_page(daemon: Daemon) -> Page:
    """Give every sample by its name, with labels as in `name{label="value"}`.

    By the bare name the sum of those with labels, but for buckets.
    """
    with urllib.request.urlopen(f"http://{daemon.metrics}/metrics") as page:
        text = page.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            if labels:
                found[f"{sample.name}{{{labels}}}"] = sample.value
            if "le" not in sample.labels:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def grown(before: Page, after: Page, name: str) -> float:
    """Give by how much a sample has grown; one that was not there before was 0."""
    return after.get(name, 0.0) - before.get(name, 0.0)
