"""The Celery edge: the app (``celery -A tasks``), its tasks, and what makes a Celery worker a GPU slot."""

import sys

from jobs.settings import PROJECT_ROOT

# The celery command puts the project's folder on the path and takes it off again after importing this package;
# the children import ``workers`` later. A second entry stays.
if sys.path.count(str(PROJECT_ROOT)) < 2:
    sys.path.append(str(PROJECT_ROOT))

from tasks.celery_app import app

__all__ = ["app"]
