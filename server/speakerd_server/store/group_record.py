"""The record of groups: who is in which, in the tables beside those of the speakers."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Collection
from pathlib import Path

from speakerd_server.enrolled import Group
from speakerd_server.store.failures import naming

_GROUPS = (
    "SELECT g.domain, g.name, g.created_unix_s, g.updated_unix_s, s.speaker_id"
    " FROM (SELECT * FROM speaker_groups {which}) AS g"
    " LEFT JOIN members AS m ON m.speaker_group = g.key"
    " LEFT JOIN speakers AS s ON s.key = m.speaker ORDER BY g.domain, g.name, s.speaker_id"
)
_LISTED = (
    "SELECT domain, name, (SELECT count(*) FROM members WHERE speaker_group = key),"
    " created_unix_s, updated_unix_s FROM speaker_groups WHERE domain = ? AND name > ?"
    " ORDER BY name LIMIT ?"
)
_KEY = "(SELECT key FROM speaker_groups WHERE domain = ? AND name = ?)"
_SPEAKER = "(SELECT key FROM speakers WHERE domain = ? AND speaker_id = ?)"


class GroupRecord:
    """Groups on disk.

    Args:
        connection: Of the record; what changes is called inside its transactions.
        path: Of its file.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def everything(self) -> list[Group]:
        """Give all groups of all domains."""
        return self._groups("", ())

    def group(self, domain: str, name: str) -> Group | None:
        """Give one group with its members; None: there is none."""
        found = self._groups("WHERE domain = ? AND name = ?", (domain, name))
        return found[0] if found else None

    def groups(self, domain: str, after: str, limit: int) -> list[Group]:
        """Give at most `limit` groups with a name beyond `after`, in code point order.

        Their members are counted and not named.
        """
        with naming(self._path):
            rows = self._connection.execute(_LISTED, (domain, after, limit)).fetchall()
        return [
            Group(domain, name, count, (), created_unix_s, updated_unix_s)
            for domain, name, count, created_unix_s, updated_unix_s in rows
        ]

    def _groups(self, which: str, values: tuple[object, ...]) -> list[Group]:
        with naming(self._path):
            rows = self._connection.execute(_GROUPS.format(which=which), values).fetchall()
        found = []
        for head, members in itertools.groupby(rows, lambda row: row[:4]):
            domain, name, created_unix_s, updated_unix_s = head
            ids = tuple(row[4] for row in members if row[4] is not None)
            found.append(Group(domain, name, len(ids), ids, created_unix_s, updated_unix_s))
        return found

    def create(self, domain: str, name: str) -> None:
        """Add an empty group."""
        now = time.time()
        self._connection.execute(
            "INSERT INTO speaker_groups (domain, name, created_unix_s, updated_unix_s)"
            " VALUES (?, ?, ?, ?)",
            (domain, name, now, now),
        )

    def update(
        self, domain: str, name: str, added: Collection[str], removed: Collection[str]
    ) -> None:
        """Add speakers and remove members; who is none already is passed over."""
        pairs = [(domain, name, domain, one) for one in added]
        self._connection.executemany(
            f"INSERT INTO members (speaker_group, speaker) VALUES ({_KEY}, {_SPEAKER})"
            " ON CONFLICT DO NOTHING",
            pairs,
        )
        self._connection.executemany(
            f"DELETE FROM members WHERE speaker_group = {_KEY} AND speaker = {_SPEAKER}",
            [(domain, name, domain, one) for one in removed],
        )
        self._connection.execute(
            "UPDATE speaker_groups SET updated_unix_s = ? WHERE domain = ? AND name = ?",
            (time.time(), domain, name),
        )

    def delete(self, domain: str, name: str) -> int:
        """Remove a group; give the number of members that it had."""
        removed = self._connection.execute(
            f"DELETE FROM members WHERE speaker_group = {_KEY}", (domain, name)
        )
        self._connection.execute(
            "DELETE FROM speaker_groups WHERE domain = ? AND name = ?", (domain, name)
        )
        return removed.rowcount
