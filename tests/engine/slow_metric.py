"""A metric that makes a validation take minutes, for tests that end it."""

import time
from pathlib import Path

from openmix.evaluation.accuracy import Accuracy
from openmix.registry import METRICS


@METRICS.register_module()
class SlowAccuracy(Accuracy):
    """Accuracy that waits at every batch while a file exists."""

    def __init__(self, while_there, **kwargs):
        super().__init__(**kwargs)
        self.file = Path(while_there)

    def process(self, *args, **kwargs):
        if self.file.exists():
            time.sleep(5)
        super().process(*args, **kwargs)
