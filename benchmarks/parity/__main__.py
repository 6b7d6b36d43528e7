"""``python -m benchmarks.parity``: print every check; the exit code is 1 when one differs."""

import logging
import sys
import warnings

from benchmarks.parity import augmentation, data, forward, initialisation, stopping, training
from benchmarks.parity.check import Check, heading

PARTS = (forward, initialisation, training, stopping, augmentation, data)


def main() -> int:
    """Run all checks, each printed when it is done."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    print(heading())
    done: list[Check] = []
    for part in PARTS:
        for check in part.checks():
            print(check, flush=True)
            done.append(check)
    failed = sum(not check.passes for check in done)
    print(f"{len(done) - failed} of {len(done)} checks pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
