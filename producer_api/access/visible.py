"""The read model as one caller sees it: a job or template of another owner is not there."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import replace

from producer_api.access.caller import Caller
from producer_api.read_model.listing import Cursor, ListFilter
from producer_api.read_model.queries import Totals
from producer_api.read_model.read_model import ReadModel
from producer_api.read_model.records import JobRecord
from schemas.access import Scope
from schemas.jobs import Item
from schemas.templates import Template, is_template_name, template_key


class VisibleJobs:
    """Reads jobs and templates for one caller; request handlers read them through nothing else.

    A job of another owner is answered as one that is in no topic: after the same catch-up, so that
    neither the answer nor its time reveals it.
    """

    def __init__(self, read_model: ReadModel, caller: Caller) -> None:
        self._read_model = read_model
        self._caller = caller
        self._owner = caller.owner if caller.own_only else None

    def shown(self, record: JobRecord | None) -> JobRecord | None:
        """Return the record as the caller may see it; None for a job of another owner."""
        if record is None or not self._caller.sees(record.state.owner):
            return None
        if self._caller.may(Scope.RESULTS_READ):
            return record
        return replace(record, items=tuple(map(_without_url, record.items)))

    def peek(self, job_id: str) -> JobRecord | None:
        """Return the job as far as this process has read it."""
        return self.shown(self._read_model.peek(job_id))

    async def find(self, job_id: str) -> JobRecord | None:
        """Return the job; None when there is none, or another owner's. Raises as ReadModel.find."""
        record = self.peek(job_id)
        if record is None:
            await self._read_model.catch_up(job_id)
            record = self.peek(job_id)
        return record

    async def wait_ended(self, job_id: str, timeout_s: float) -> JobRecord | None:
        """Return the job as soon as it has ended, or as it is after that time. Raises as `find`."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        if await self.find(job_id) is None:
            return None
        return self.shown(await self._read_model.until_ended(job_id, deadline_s))

    def watch(self, job_id: str) -> AbstractContextManager[asyncio.Future[None] | None]:
        """Give a future of the job's next change, as Waiters.watch; `peek` says if it is shown."""
        return self._read_model.waiters.watch(job_id)

    async def list(
        self, wanted: ListFilter, limit: int, after: Cursor | None
    ) -> tuple[list[JobRecord], Cursor | None]:
        """Return a page of the caller's jobs, or of all that it sees; else as ReadModel.list."""
        if self._owner is not None:
            wanted = replace(wanted, owner=self._owner)
        records, following = await self._read_model.list(wanted, limit, after)
        shown = [self.shown(record) for record in records]
        return [record for record in shown if record is not None], following

    @property
    def sees_all(self) -> bool:
        """True if the caller may know of every owner's jobs, and so of sums over all of them."""
        return self._owner is None

    async def totals(self, since: str) -> Totals:
        """Return statistics of the jobs that the caller sees, as ReadModel.totals."""
        return await self._read_model.totals(since, self._owner)

    # Templates: names belong to their owner. Those of an API without keys, and of callers that
    # see everything, are shared: every caller may use them.

    def template_key(self, name: str) -> str:
        """Return the key under which this caller writes a template on the topic."""
        return template_key(self._owner, name)

    async def own_template(self, name: str) -> Template | None:
        """Return the template that the caller may change. Raises as ReadModel.template."""
        return await self._template(name, self.template_key(name))

    async def template(self, name: str) -> Template | None:
        """Return the caller's own template, or else the shared one of that name.

        Raises as ReadModel.template.
        """
        return await self._template(name, self.template_key(name), template_key(None, name))

    async def templates(self) -> dict[str, Template]:
        """Return the caller's own and the shared templates by name. Raises as ReadModel.find."""
        return await self._read_model.templates(self._owner)

    async def _template(self, name: str, *keys: str) -> Template | None:
        # A name with a slash would be the key of another owner's template.
        return await self._read_model.template(*keys) if is_template_name(name) else None


def _without_url(item: Item) -> Item:
    """Return the item without the signed URL of its result, which opens the file without a key."""
    if item.result is None or "url" not in item.result:
        return item
    shown = {name: value for name, value in item.result.items() if name != "url"}
    return item.model_copy(update={"result": shown})
