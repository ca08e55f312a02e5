"""`python -m alphabeam.pipeline` is the command `alphabeam`."""

import sys

from .cli import main

sys.exit(main())
