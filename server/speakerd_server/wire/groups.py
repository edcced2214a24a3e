"""EnrollmentService, the part for those who administer groups."""

from __future__ import annotations

from collections.abc import Sequence

from speakerd.v1 import enrollment_pb2 as pb
from speakerd.v1 import enrollment_pb2_grpc

from speakerd_server.calls.serving import Serving
from speakerd_server.errors import FieldInvalid
from speakerd_server.store.ids import check_group_name, check_speaker_id
from speakerd_server.wire import edge, enrolled_convert, pages

MAXIMUM_CHANGES = 1000


class GroupAdministration(enrollment_pb2_grpc.EnrollmentServiceServicer):
    """Translates between the wire and the groups of the store."""

    _serving: Serving

    async def CreateGroup(  # noqa: N802
        self, request: pb.CreateGroupRequest, context: edge.Context
    ) -> pb.CreateGroupResponse:
        """Make an empty group."""
        return await edge.answered(context, "CreateGroup", lambda _: self._create_group(request))

    async def _create_group(self, request: pb.CreateGroupRequest) -> pb.CreateGroupResponse:
        group = await self._serving.enrolments.create_group(*self._group_named(request))
        return pb.CreateGroupResponse(group=enrolled_convert.group(group))

    async def GetGroup(  # noqa: N802
        self, request: pb.GetGroupRequest, context: edge.Context
    ) -> pb.GetGroupResponse:
        """Give one group."""
        return await edge.answered(context, "GetGroup", lambda _: self._get_group(request))

    async def _get_group(self, request: pb.GetGroupRequest) -> pb.GetGroupResponse:
        group = await self._serving.enrolments.group(*self._group_named(request))
        return pb.GetGroupResponse(group=enrolled_convert.group(group))

    async def ListGroups(  # noqa: N802
        self, request: pb.ListGroupsRequest, context: edge.Context
    ) -> pb.ListGroupsResponse:
        """List a page of groups."""
        return await edge.answered(context, "ListGroups", lambda _: self._list_groups(request))

    async def _list_groups(self, request: pb.ListGroupsRequest) -> pb.ListGroupsResponse:
        domain = self._serving.domain(request.domain)
        size = pages.page_size(request.page_size)
        after = pages.token_read(request.page_token)
        found = await self._serving.enrolments.groups(domain, after, size + 1)
        page = found[:size]
        more = len(found) > size
        return pb.ListGroupsResponse(
            groups=[enrolled_convert.group(one) for one in page],
            next_page_token=pages.token(page[-1].name) if more else "",
        )

    async def UpdateGroup(  # noqa: N802
        self, request: pb.UpdateGroupRequest, context: edge.Context
    ) -> pb.UpdateGroupResponse:
        """Add and remove members."""
        return await edge.answered(context, "UpdateGroup", lambda _: self._update_group(request))

    async def _update_group(self, request: pb.UpdateGroupRequest) -> pb.UpdateGroupResponse:
        domain, name = self._group_named(request)
        added = _changes(request.add_speaker_ids, "add_speaker_ids")
        removed = _changes(request.remove_speaker_ids, "remove_speaker_ids")
        group = await self._serving.enrolments.update_group(domain, name, added, removed)
        return pb.UpdateGroupResponse(group=enrolled_convert.group(group))

    async def DeleteGroup(  # noqa: N802
        self, request: pb.DeleteGroupRequest, context: edge.Context
    ) -> pb.DeleteGroupResponse:
        """Delete a group."""
        return await edge.answered(context, "DeleteGroup", lambda _: self._delete_group(request))

    async def _delete_group(self, request: pb.DeleteGroupRequest) -> pb.DeleteGroupResponse:
        members = await self._serving.enrolments.delete_group(*self._group_named(request))
        return pb.DeleteGroupResponse(members=members)

    def _group_named(
        self,
        request: pb.CreateGroupRequest
        | pb.GetGroupRequest
        | pb.UpdateGroupRequest
        | pb.DeleteGroupRequest,
    ) -> tuple[str, str]:
        check_group_name(request.name)
        return self._serving.domain(request.domain), request.name


def _changes(speaker_ids: Sequence[str], field: str) -> tuple[str, ...]:
    if len(speaker_ids) > MAXIMUM_CHANGES:
        problem = f"{len(speaker_ids)} speakers are named, at most {MAXIMUM_CHANGES} can be"
        raise FieldInvalid(field, f"{problem}; send several requests")
    for speaker_id in speaker_ids:
        check_speaker_id(speaker_id)
    return tuple(speaker_ids)
