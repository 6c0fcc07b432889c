"""Settings: every option, its default, its unit and its environment variable."""

from jobs.settings.option import PROJECT_ROOT
from jobs.settings.settings import Settings
from jobs.settings.storage import RETENTION_CLASSES
from jobs.settings.work import CLASSES

__all__ = ["CLASSES", "PROJECT_ROOT", "RETENTION_CLASSES", "Settings"]
