"""`python -m grove`: the `grove` command."""

import sys

from grove.codec.cli.commands import main

sys.exit(main())
