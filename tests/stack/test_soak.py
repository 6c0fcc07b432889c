"""The short form of ``python -m bench.soak``: nothing fails, and descriptors and threads stay flat.

A minute is too short for the slope of memory; the benchmark shows it for hours.
"""

from __future__ import annotations

import pytest

from bench import soak

MINUTES, WARM_UP_S = 0.8, 20.0
#: Connections that come and go with the requests of the moment.
DESCRIPTORS, THREADS = 30, 6
#: Growth of a process after the warm-up that would be a leak even in so short a time.
MEMORY_BYTES = 40 * soak.MIB


@pytest.mark.timeout(300)
def test_a_service_under_load_stays_flat() -> None:
    done = soak.run(MINUTES, rate=6)
    assert done.failures == []
    assert set(done.done) == {"wait", "follow", "stop", "refused", "openai", "change", "read", "a1111"}
    assert {"web", "gpu0", "gpu1", "io", "redis (data)"} <= set(done.series)
    for name, series in done.series.items():
        rest = series.after(WARM_UP_S)
        assert max(rest.descriptors) - min(rest.descriptors) <= DESCRIPTORS, name
        assert max(rest.threads) - min(rest.threads) <= THREADS, name
        assert max(rest.memory_bytes) - rest.memory_bytes[0] <= MEMORY_BYTES, name
    assert "growth in an hour" in soak.report(done, WARM_UP_S)
