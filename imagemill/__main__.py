"""`python -m imagemill` is the command `imagemill`."""

import sys

from imagemill.cli import main

sys.exit(main())
