"""`python -m vid3d` is the `vid3d` command."""

from __future__ import annotations

import sys

from vid3d.cli import main

sys.exit(main())
