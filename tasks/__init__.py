"""The Celery edge: the app (``celery -A tasks``), dispatching, and the job records as Celery results."""

import sys

from jobs.settings import PROJECT_ROOT

# The celery command adds the project's folder to the path and removes it after importing this package, but the child
# processes import ``workers`` later. A second entry remains.
if sys.path.count(str(PROJECT_ROOT)) < 2:
    sys.path.append(str(PROJECT_ROOT))

from tasks import flower

flower.prepare_if_started()

from tasks.celery_app import app  # noqa: E402

__all__ = ["app"]
