"""Imported once by the forkserver, before it forks workers: all that a fit needs."""

from __future__ import annotations

import signal

# Ctrl-C while this imports ends the forkserver without a traceback; afterwards it ignores the signal by itself
signal.signal(signal.SIGINT, signal.SIG_DFL)

import qlcnet.cost.network_size  # noqa: E402
import qlcnet.fit.data  # noqa: E402
import qlcnet.fit.fitting  # noqa: E402, F401
