"""Operations that take microseconds: they run in the worker's event loop, not in the pool."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from processor.run.item import ItemOutcome
from processor.run.operation_loader import load_run
from schemas.catalog import operations
from schemas.errors import ErrorCode, JobError
from schemas.jobs import Job

log = logging.getLogger(__name__)


class InlineOperations:
    """The operations of the catalog that are marked as inline."""

    def __init__(self) -> None:
        self._specs = {
            name: (spec, load_run(spec)) for name, spec in operations().items() if spec.inline
        }

    def run(self, job: Job) -> ItemOutcome | None:
        """Run the job's operation now; None when it belongs in the pool."""
        if job.pipeline or job.operation not in self._specs:
            return None
        spec, run = self._specs[job.operation]
        try:
            output = run(None, spec.params.model_validate(job.params), None)
        except ValidationError as error:
            return ItemOutcome(error=JobError.of(ErrorCode.PARAMS_INVALID, str(error)))
        except Exception as error:
            log.exception("operation %s of job %s", job.operation, job.job_id)
            message = f"The operation failed unexpectedly ({type(error).__name__})."
            return ItemOutcome(error=JobError.of(ErrorCode.INTERNAL, message))
        return ItemOutcome(result={"data": output.data} if output.data is not None else None)
