"""Groups of speakers, read and changed: methods of AsyncClient."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from speakerd.v1 import enrollment_pb2

from speakerd_client.convert import moment
from speakerd_client.records import Group
from speakerd_client.requests import sendable
from speakerd_client.speakers import Administers


async def create_group(client: Administers, name: str, *, domain: str = "") -> Group:
    """Make an empty group; one that is there already is NotPossible."""
    with sendable():
        request = enrollment_pb2.CreateGroupRequest(domain=domain, name=name)
    return _group((await client._unary(client._enrollment.CreateGroup, request)).group)


async def get_group(client: Administers, name: str, *, domain: str = "") -> Group:
    """Give one group with its members."""
    with sendable():
        request = enrollment_pb2.GetGroupRequest(domain=domain, name=name)
    return _group((await client._unary(client._enrollment.GetGroup, request)).group)


async def list_groups(
    client: Administers, *, domain: str = "", page_size: int = 100
) -> AsyncIterator[Group]:
    """Give the groups of a domain by name, without their members, page by page as needed."""
    with sendable():
        request = enrollment_pb2.ListGroupsRequest(domain=domain, page_size=page_size)
    while True:
        page = await client._unary(client._enrollment.ListGroups, request)
        for each in page.groups:
            yield _group(each)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def update_group(
    client: Administers,
    name: str,
    *,
    domain: str = "",
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> Group:
    """Add speakers by id and remove members, all or nothing; give the group as it is then."""
    with sendable():
        request = enrollment_pb2.UpdateGroupRequest(
            domain=domain, name=name, add_speaker_ids=add, remove_speaker_ids=remove
        )
    return _group((await client._unary(client._enrollment.UpdateGroup, request)).group)


async def delete_group(client: Administers, name: str, *, domain: str = "") -> int:
    """Delete a group, whose members stay enrolled; give how many it had."""
    with sendable():
        request = enrollment_pb2.DeleteGroupRequest(domain=domain, name=name)
    members: int = (await client._unary(client._enrollment.DeleteGroup, request)).members
    return members


def _group(message: enrollment_pb2.Group) -> Group:
    return Group(
        name=message.name,
        domain=message.domain,
        member_count=message.member_count,
        speaker_ids=tuple(message.speaker_ids),
        created=moment(message.create_time),
        updated=moment(message.update_time),
    )
